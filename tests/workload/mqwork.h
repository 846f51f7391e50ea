/* SPDX-License-Identifier: Apache-2.0 */
/* The scenarios, and what they share. */
#ifndef MQWORK_H
#define MQWORK_H

#include <limits.h>
#include <sys/types.h>

struct call;

/* Prefix of every queue's name, with a leading slash. */
extern const char *option_prefix;

/* Each returns the exit code. */
int scenario_basic(int argc, char **argv);
int scenario_waits(int argc, char **argv);
int scenario_paced(int argc, char **argv);
int scenario_pingpong(int argc, char **argv);
int scenario_exchange(int argc, char **argv);
int scenario_shape(int argc, char **argv);
int scenario_consume(int argc, char **argv);
int scenario_getppid(int argc, char **argv);
int scenario_jumped(int argc, char **argv);
int scenario_refused(int argc, char **argv);
int scenario_arriving(int argc, char **argv);
int scenario_flood(int argc, char **argv);
int scenario_blocked(int argc, char **argv);
int scenario_filled(int argc, char **argv);
int scenario_left(int argc, char **argv);
int scenario_interrupted(int argc, char **argv);
int scenario_killed(int argc, char **argv);
int scenario_odd(int argc, char **argv);
int scenario_closed(int argc, char **argv);
int scenario_tocttou(int argc, char **argv);
int scenario_time64(int argc, char **argv);
int scenario_exec(int argc, char **argv);
int scenario_executed(int argc, char **argv);

long argument_count(int argc, char **argv, int index, long fallback);

_Noreturn void fail(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* A fork() that must not fail, and the wait for a child that must exit with 0. */
pid_t start_process(void);
void wait_for_process(pid_t child);

/*
 * Appends the call as one JSON line in one write, so that the lines of threads
 * and processes do not mix.
 */
extern const char *truth_path;
void truth_open(const char *path);
void truth_print(const struct call *call);

/*
 * Keeps the lines of this thread in memory instead: writing to a file that
 * others write to can make it sleep. truth_give() writes them.
 */
void truth_keep(void);
void truth_give(void);

/* Returns once the thread sleeps in a system call; fails after half a minute. */
void await_blocked(pid_t pid, pid_t tid);

/* Prints a word, then waits for this many bytes of standard input or its end. */
#define UNTIL_END LONG_MAX
void say_and_wait(const char *word, long bytes);

#endif
