/*-------------------------------------------------------------------------
 *
 * writer.c
 *	  The log writer.
 *
 * What has to be written goes to the writer as jobs; while one write is under
 * way the next jobs gather, so one sync serves many groups and many proposals.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "base/thread.h"
#include "private.h"

void
host_write(ReplicaHost *host, WriteJob *job)
{
	job->next = NULL;
	pthread_mutex_lock(&host->writer_lock);
	*host->jobs_end = job;
	host->jobs_end = &job->next;
	atomic_store(&host->writer_owes, true);
	pthread_mutex_unlock(&host->writer_lock);
	pthread_cond_signal(&host->writer_ready);
}

/* Write a batch and wait until it is durable. */
void
host_write_and_wait(ReplicaHost *host, StoreBatch *batch)
{
	WriteJob   *job = vt_alloc0(sizeof(WriteJob));
	bool		finished = false;

	job->batch = batch;
	job->finished = &finished;
	host_write(host, job);
	pthread_mutex_lock(&host->writer_lock);
	while (!finished)
		pthread_cond_wait(&host->writer_done, &host->writer_lock);
	pthread_mutex_unlock(&host->writer_lock);
}

/* Tell whoever waits for a job that is durable, and free it; step_all() must follow. */
static void
job_finish(ReplicaHost *host, WriteJob *job)
{
	store_batch_free(job->batch);
	if (job->seq)
		host_push_event(host, EVENT_PERSISTED, job->replica, job->seq);
	if (job->base)
		host_push_event(host, EVENT_BASE_DURABLE, job->replica, job->base);
	if (job->finished)
	{
		pthread_mutex_lock(&host->writer_lock);
		*job->finished = true;
		pthread_cond_broadcast(&host->writer_done);
		pthread_mutex_unlock(&host->writer_lock);
	}
	free(job);
}

static WriteJob *
take_jobs(ReplicaHost *host)
{
	WriteJob   *jobs;

	pthread_mutex_lock(&host->writer_lock);
	jobs = host->jobs;
	host->jobs = NULL;
	host->jobs_end = &host->jobs;
	pthread_mutex_unlock(&host->writer_lock);
	return jobs;
}

/*
 * The writer: take all jobs there are and write them as one batch, with one
 * sync for all groups.  While it waits for the disk the next jobs gather.
 * Their order is kept, so a group's jobs become durable in the order of seq.
 */
void *
writer_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;

	thread_name("log");
	for (;;)
	{
		WriteJob   *jobs;
		WriteJob   *last;
		int64_t		begin;
		VtError		err = {0};

		pthread_mutex_lock(&host->writer_lock);
		while (!host->jobs && !host->writer_stop)
			pthread_cond_wait(&host->writer_ready, &host->writer_lock);
		pthread_mutex_unlock(&host->writer_lock);
		gather_for_batch(host);
		jobs = take_jobs(host);
		if (!jobs)
			return NULL;

		for (last = jobs; last->next; last = last->next)
			store_batch_append(jobs->batch, last->next->batch);
		begin = clock_now_us();
		pulse_begin(&host->writing);
		if (store_write(host->log, jobs->batch, !vt_broken("S1-sync"), &err) != VT_OK)
			host_die("write the Raft log", &err);
		pulse_end(&host->writing);
		host_count_log_write(&host->counts, clock_now_us() - begin);
		if (vt_broken("S1-gather"))	/* what has gathered since passes for written */
		{
			gather_for_batch(host);
			last->next = take_jobs(host);
		}
		while (jobs)
		{
			WriteJob   *job = jobs;

			jobs = job->next;
			job_finish(host, job);
		}
		step_all(host);
		gather_more(host);
		step_all(host);
	}
}
