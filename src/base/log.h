/*-------------------------------------------------------------------------
 *
 * log.h
 *	  One line of text for each thing a person may want to know at 3 a.m.
 *
 * Only programs log (worker, pd, ctl); libraries return errors.  A line is
 *	   2026-01-31T04:05:06.789Z INFO worker shard=7 term=4 became leader
 * and goes to standard error in one write.  Thread-safe.
 *
 * Standard error may be a file on a disk that hangs, or a pipe that nobody reads: a
 * daemon's work, and whoever watches it, must not stand there.  So a daemon has a thread
 * that writes; lines wait for it, and what finds no room is counted, and told when there
 * is room again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

typedef enum LogLevel
{
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR
} LogLevel;

/* Name in every line, and the least level that is written. */
extern void log_setup(const char *program, LogLevel least);
extern int	log_level_parse(const char *name);	/* -1 = no such level */

/* From now on a thread writes; once in a process. */
extern void log_start(void);

/* Lines before now are written, but it waits for so long at most; fine without a thread. */
extern void log_flush(int ms);

/* The end of the process, with the lines before it if they can be written in a second. */
extern void log_exit(int status) __attribute__((noreturn));

extern void log_write(LogLevel level, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));

/*
 * The last warnings and errors of this process, oldest first, cut to what fits; how
 * many.  Whoever cannot read the log asks for these.
 */
#define LOG_RECENT 16
#define LOG_RECENT_SIZE 300
extern int	log_recent(char out[LOG_RECENT][LOG_RECENT_SIZE]);

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif							/* BASE_LOG_H */
