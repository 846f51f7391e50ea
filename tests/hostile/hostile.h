/* SPDX-License-Identifier: Apache-2.0 */
/* Attacks on the agent by programs without privileges, and what they share. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_CGROUPS 16

struct options {
	long uid; /* -1: stay who we are */
	long seconds, workers;
	long count; /* of threads, where an attack makes many; 0: its default */
	int64_t deadline_ns; /* CLOCK_MONOTONIC */
	const char *directory; /* where files may be made */
	const char *cgroups[MAX_CGROUPS]; /* of the container */
	int cgroup_count;
	int fuse_fd; /* of the mount that root has made, -1: none */
	bool prepared; /* what needs root is done, and root is given up */
};

extern struct options options;

/* Each runs until the time is up, and returns the exit code. */
int attack_environ_huge(void);
int attack_environ_fuse(void);
int attack_environ_values(void);
int attack_flood_getsetattr(void);
int attack_flood_unlink(void);
int attack_flood_exchange(void);
int attack_flood_forks(void);
int attack_flood_exec(void);
int attack_flood_threads(void);
int attack_threads_many(void);
int attack_threads_blocked(void);
int attack_messages_many(void);
int attack_names(void);
int attack_elf_odd(void);
int attack_signals(void);
int attack_namespaces(void);
int attack_container(void);
int attack_cgroups(void);
int attack_maps(void);

/* As the first process of a PID namespace, which gets the signals that this one gets. */
int run_in_pid_namespace(char **command);
/* Where the kernel has been up for eleven days longer. */
int run_in_time_namespace(char **command);
/* As root of a user namespace that the user of --uid has made, and that this root is another user of. */
int run_in_user_namespace(char **command);

/* Becomes the user of --uid. */
void give_up_root(void);

/* What only root can do for an attack, before it is given up. */
void prepare_fuse(void);
void prepare_container(void);
void prepare_messages(void);

/* The exit code where the machine lacks what an attack needs. */
#define EXIT_LACKING 3

_Noreturn void fail(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
_Noreturn void lacking(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

bool write_text(const char *path, const char *text);
bool time_is_up(void);
void sleep_ms(long ms);

/* fork(); the child ends with its parent, and soon after the deadline. -1 where there is no room. */
pid_t try_start(void);
pid_t start(void);
void reap(pid_t child);

/* Runs the work in as many processes as there are workers, and waits for them. */
int run_workers(void (*work)(long worker));

/* Memory that all processes of the attack share. */
void *shared_memory(size_t size);

/* Calls made, which the program prints at its end. */
void count_calls(uint64_t calls);

/* A call that is refused at once, and its count. */
void refused_call(void);
long open_queue(const char *name, int oflag, long max_messages, long size);
long send_message(int queue, const void *body, size_t size);
/* Waits until the deadline at most. */
long receive_message(int queue, void *body, size_t size);
void unlink_queue(const char *name);

/* This program again, which makes one call and ends: in a child, and waits for it. */
extern char self_path[];
void execute_once(const char *path, char *const environment[]);
void execute_once_at(int fd, char *const environment[]);
/* A copy of this program; the descriptor cannot be written to. */
void copy_self(const char *path);
int copy_self_to_memory(const char *name);

/* Enters a user namespace, as its root, and others with it. False where the kernel refuses. */
bool enter_namespaces(int flags);

/* Pseudo-random numbers, the same each time. */
uint64_t next_random(uint64_t *state);

#endif
