/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The wire layout: what the programs in the kernel write into the ring buffer
 * and the agent reads. The only header both sides share; the agent's types are
 * generated from its BTF, never written by hand. Both sides run on one machine,
 * so integers are in its own byte order.
 */
#ifndef MQSPAN_EVENTS_H
#define MQSPAN_EVENTS_H

/* NAME_MAX (255, mq_overview(7)), the slash before, zero bytes behind. */
#define QUEUE_NAME_SIZE 264
#define QUEUE_NAME_MAX 256
#define COMM_SIZE 16
#define EXE_NAME_SIZE 64
#define CGROUP_NAME_SIZE 128

enum event_kind {
	EVENT_CALL = 1,
	EVENT_PROCESS = 2,
};

/* The system call by the name its entry has in the table of its own ABI. */
enum call_op {
	CALL_OPEN = 1,
	CALL_UNLINK = 2,
	CALL_TIMEDSEND = 3,
	CALL_TIMEDSEND_TIME32 = 4,
	CALL_TIMEDSEND_TIME64 = 5,
	CALL_TIMEDRECEIVE = 6,
	CALL_TIMEDRECEIVE_TIME32 = 7,
	CALL_TIMEDRECEIVE_TIME64 = 8,
	CALL_NOTIFY = 9,
	CALL_GETSETATTR = 10,
};

enum call_abi {
	ABI_X86_64 = 1,
	ABI_I386 = 2,
	ABI_AARCH64 = 3,
	ABI_ARM = 4,
};

/* Which of the fields of a call hold a value. */
enum call_flag {
	/* The caller passed a timeout pointer that is not NULL. */
	CALL_TIMEOUT_GIVEN = 1 << 0,
	/* timeout_sec and timeout_nsec hold what was passed. */
	CALL_TIMEOUT_READ = 1 << 1,
	/* priority holds the message's priority. */
	CALL_PRIORITY = 1 << 2,
	/* queue_ino, max_messages and max_message_size hold values. */
	CALL_QUEUE = 1 << 3,
	/* depth holds mq_curmsgs at the return. */
	CALL_DEPTH = 1 << 4,
	/* name holds a queue name. */
	CALL_NAME = 1 << 5,
	/* O_NONBLOCK is set on the descriptor. */
	CALL_NONBLOCK = 1 << 6,
	/* The descriptor is open and refers to a message queue. */
	CALL_DESCRIPTOR = 1 << 7,
	/* The call was blocked already when the agent attached. */
	CALL_START_UNKNOWN = 1 << 8,
	/* Re-entry of a call that a signal interrupted: interrupted_start_ns. */
	CALL_RESTARTED = 1 << 9,
	/* A send that made a message, or a receive whose sender was seen. */
	CALL_MESSAGE = 1 << 10,
	/* notify and signo hold what mq_notify was passed. */
	CALL_ARGUMENTS = 1 << 11,
	/* mq_notify with a NULL sigevent: unregister. */
	CALL_NOTIFY_NONE = 1 << 12,
	/* The thread died in the call of death_signal; ret is not meaningful. */
	CALL_DIED = 1 << 13,
	/* payload_len bytes of the message stand behind the whole of name. */
	CALL_PAYLOAD = 1 << 14,
	/* At the entry the filter could not tell whether it is wanted. */
	CALL_UNDECIDED = 1 << 15,
};

/*
 * One call, from its entry to its return. The name is written as long as it
 * is: a record is CALL_FIXED_SIZE + name_len bytes, rounded up to 8.
 */
struct call_event {
	__u8 kind; /* EVENT_CALL */
	__u8 op; /* enum call_op */
	__u8 abi; /* enum call_abi */
	__u8 death_signal;
	__u32 flags; /* enum call_flag */
	__u64 start_ns; /* CLOCK_BOOTTIME */
	__u64 end_ns; /* CLOCK_BOOTTIME */
	__s64 ret; /* what the kernel returns: >= 0 or negative errno */
	__u64 process_start_ns; /* start of the process, CLOCK_BOOTTIME */
	__u32 exec_id; /* execve() calls of the process so far */
	__u32 pid; /* thread group id, initial PID namespace */
	__u32 tid; /* thread id, initial PID namespace */
	__u32 ipc_ns; /* inode number of the IPC namespace */
	__s32 mqdes;
	__u32 priority;
	__u64 msg_len; /* the argument, bytes */
	__s64 timeout_sec; /* absolute, CLOCK_REALTIME, as passed */
	__s64 timeout_nsec;
	__u64 queue_ino; /* inode number of the queue */
	__u32 depth; /* messages */
	__u32 max_messages;
	__u32 max_message_size; /* bytes */
	__u32 payload_len; /* bytes of the message behind name */
	__u32 oflag; /* mq_open */
	__u32 mode; /* mq_open */
	__s32 notify; /* mq_notify: sigev_notify */
	__s32 signo; /* mq_notify: sigev_signo */
	__u64 sender_start_ns; /* receive: start_ns of the send of this message */
	__u64 message_created_ns; /* when the message was made, CLOCK_BOOTTIME */
	__u64 interrupted_start_ns; /* start_ns of the call this one restarts */
	__u32 sender_tid; /* receive: tid of the send of this message */
	__u32 name_len; /* bytes of name with its slash, without zero bytes */
	char comm[COMM_SIZE]; /* of the thread, at the return */
	char name[QUEUE_NAME_SIZE]; /* with its leading slash */
};

#define CALL_FIXED_SIZE __builtin_offsetof(struct call_event, name)

_Static_assert(CALL_FIXED_SIZE == 176, "layout of call_event");
_Static_assert(sizeof(struct call_event) == 176 + QUEUE_NAME_SIZE,
	       "layout of call_event");

/* The message follows a call_event that is written whole. */
#define PAYLOAD_MAX 4096

/* A process at its first call, and again at its first call after execve(). */
struct process_event {
	__u8 kind; /* EVENT_PROCESS */
	__u8 padding[3];
	__u32 pid; /* thread group id, initial PID namespace */
	__u64 process_start_ns; /* CLOCK_BOOTTIME */
	__u32 exec_id;
	__u32 uid; /* real user id, initial user namespace */
	__u64 cgroup_id; /* kernfs_node.id of the node that cgroup names */
	char comm[COMM_SIZE]; /* of the thread group leader */
	char exe_name[EXE_NAME_SIZE]; /* last part of the executable's path */
	char cgroup[CGROUP_NAME_SIZE]; /* last part of the cgroup v2 path */
	char cgroup_parent[CGROUP_NAME_SIZE]; /* the part before it */
};

_Static_assert(sizeof(struct process_event) == 368, "layout of process_event");

/* One more than bounds in metrics/histogram.rs. */
#define DURATION_BUCKETS 15

struct durations {
	__u64 buckets[DURATION_BUCKETS]; /* how many */
	__u64 sum_ns;
	__u64 min_ns;
	__u64 max_ns;
};

/* Which calls; all zero for those that found no place of their own. */
struct lost_key {
	__u64 queue; /* inode number, or a hash of the name without one */
	__u32 ipc_ns;
	__u16 error; /* errno, 0 on success */
	__u8 op; /* enum call_op */
	__u8 death_signal;
};

/* What metrics count of calls whose record found no room in the ring. */
struct lost_calls {
	struct durations duration; /* from entry to return */
	struct durations time_in_queue;
	__u64 sent; /* messages */
	__u64 consumed; /* messages */
	__u64 name_len; /* as in call_event */
	char name[QUEUE_NAME_SIZE];
};

/*
 * What became of each call, per CPU. At any time
 *   entered + start_unknown = submitted + filtered_return + ring_full
 *                             + return_missed + calls still in flight
 * and seen = entered + start_unknown + filtered_entry + in_flight_full
 *            + entry_missed.
 */
struct counters {
	__u64 entered; /* entries that passed the filters and are remembered */
	__u64 start_unknown; /* calls found blocked at attach */
	__u64 filtered_entry; /* calls that a filter dropped at the entry */
	__u64 filtered_return; /* calls that a filter dropped at the return */
	__u64 submitted; /* events of calls in the ring buffer */
	__u64 ring_full; /* calls lost: no room in the ring buffer */
	__u64 in_flight_full; /* calls lost: no room to remember the entry */
	__u64 entry_missed; /* calls lost: they return, but did not begin */
	__u64 return_missed; /* calls lost: their return was not seen */
	__u64 process_lost; /* process events that found no room */
	__u64 message_lost; /* messages whose identity found no room */
};

#endif
