/*-------------------------------------------------------------------------
 *
 * rival_hnswlib.cc
 *	  hnswlib behind the benchmark's door, when its headers are installed.
 *
 * Built -O3 -march=native.  Cosine is what its users do: vectors of length one
 * and the inner product.
 *
 *-------------------------------------------------------------------------
 */
#include "engine.h"

#ifdef HAVE_HNSWLIB

#include <hnswlib/hnswlib.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

namespace
{
const int	COSINE = 3;
const int	IP = 2;

struct Index
{
	hnswlib::SpaceInterface<float> *space;
	hnswlib::HierarchicalNSW<float> *graph;
	uint32_t	dim;
	bool		cosine;
	std::vector<float> query;
};

void
unit(const float *in, uint32_t dim, float *out)
{
	double		norm = 0;

	for (uint32_t i = 0; i < dim; i++)
		norm += (double) in[i] * in[i];
	norm = std::sqrt(norm);
	for (uint32_t i = 0; i < dim; i++)
		out[i] = norm > 0 ? (float) (in[i] / norm) : 0;
}

void
add(Index *index, const Plan *plan, uint32_t row, std::vector<float> &room)
{
	const float *vector = plan->base + (size_t) row * plan->dim;

	if (index->cosine)
	{
		unit(vector, plan->dim, room.data());
		vector = room.data();
	}
	index->graph->addPoint(vector, row);
}

void *
build(const Plan *plan)
{
	Index	   *index = new Index();
	std::atomic<uint32_t> next(0);
	std::vector<std::thread> threads;

	index->dim = plan->dim;
	index->cosine = plan->metric == COSINE;
	index->query.resize(plan->dim);
	if (index->cosine || plan->metric == IP)
		index->space = new hnswlib::InnerProductSpace(plan->dim);
	else
		index->space = new hnswlib::L2Space(plan->dim);
	if (plan->keep && access(plan->keep, R_OK) == 0)
	{
		index->graph = new hnswlib::HierarchicalNSW<float>(index->space, plan->keep);
		return index;
	}
	index->graph = new hnswlib::HierarchicalNSW<float>(index->space, plan->n, plan->m,
													   plan->ef_construction);
	auto		work = [&] {
		std::vector<float> room(plan->dim);

		for (uint32_t row; (row = next++) < plan->n;)
			add(index, plan, row, room);
	};

	for (uint32_t i = 1; i < plan->threads; i++)
		threads.emplace_back(work);
	work();
	for (auto &thread : threads)
		thread.join();
	if (plan->keep)
		index->graph->saveIndex(plan->keep);
	return index;
}

uint32_t
search(void *arg, const float *query, uint32_t k, uint32_t ef, uint32_t *rows)
{
	Index	   *index = static_cast<Index *>(arg);
	uint32_t	n;

	if (index->cosine)
	{
		unit(query, index->dim, index->query.data());
		query = index->query.data();
	}
	index->graph->setEf(ef);
	auto		found = index->graph->searchKnn(query, k);

	n = (uint32_t) found.size();
	for (uint32_t i = n; i > 0; i--)
	{
		rows[i - 1] = (uint32_t) found.top().second;
		found.pop();
	}
	return n;
}

void
destroy(void *arg)
{
	Index	   *index = static_cast<Index *>(arg);

	delete index->graph;
	delete index->space;
	delete index;
}

const Engine engine = {"hnswlib", false, build, search, nullptr, destroy};
}

extern "C" const Engine *
engine_hnswlib(void)
{
	return &engine;
}

#else

extern "C" const Engine *
engine_hnswlib(void)
{
	return nullptr;
}

#endif
