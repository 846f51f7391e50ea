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
	long uid; /* -1: do not change the user */
	long seconds, workers;
	long count; /* of threads, where an attack makes many; 0: its default */
	int64_t deadline_ns; /* CLOCK_MONOTONIC */
	const char *directory; /* where files may be made */
	const char *cgroups[MAX_CGROUPS]; /* of the container */
	int cgroup_count;
	int fuse_fd; /* of the mount that root made; -1: none */
	bool prepared; /* root has done its part and is given up */
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

/*
 * Runs the command as the first process of a PID namespace, which gets the
 * signals that this process gets.
 */
int run_in_pid_namespace(char **command);
/* In a time namespace where the kernel has been up for eleven days longer. */
int run_in_time_namespace(char **command);
/* As root of a user namespace that the user of --uid made. Outside it this root is another user. */
int run_in_user_namespace(char **command);

/* Becomes the user of --uid. */
void give_up_root(void);

/* What only root can do for an attack. Runs before root is given up. */
void prepare_fuse(void);
void prepare_container(void);
void prepare_messages(void);

/* The exit code if the machine lacks what an attack needs. */
#define EXIT_LACKING 3

_Noreturn void fail(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
_Noreturn void lacking(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

bool write_text(const char *path, const char *text);
bool time_is_up(void);
void sleep_ms(long ms);

/* fork(). The child ends with its parent, or soon after the deadline. -1 if there is no room. */
pid_t try_start(void);
pid_t start(void);
void reap(pid_t child);

/* Runs the work in one process per worker, and waits for them. */
int run_workers(void (*work)(long worker));

void *shared_memory(size_t size);

/* Counts calls; the program prints the sum at its end. */
void count_calls(uint64_t calls);

/* Makes and counts a call that is refused at once. */
void refused_call(void);
long open_queue(const char *name, int oflag, long max_messages, long size);
long send_message(int queue, const void *body, size_t size);
/* Waits until the deadline at the latest. */
long receive_message(int queue, void *body, size_t size);
void unlink_queue(const char *name);

/* Executes this program again in a child, to make one call, and waits for it. */
extern char self_path[];
void execute_once(const char *path, char *const environment[]);
void execute_once_at(int fd, char *const environment[]);
/* Copies this program; the descriptor of the copy is read-only. */
void copy_self(const char *path);
int copy_self_to_memory(const char *name);

/* Enters new namespaces as root of a user namespace; false if the kernel refuses. */
bool enter_namespaces(int flags);

/* Pseudo-random numbers, the same in every run. */
uint64_t next_random(uint64_t *state);

#endif
