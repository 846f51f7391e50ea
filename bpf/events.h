/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The wire layout: what the BPF programs write into the ring buffer and the
 * agent reads. The only header that both sides share; the agent's types are
 * generated from its BTF, never written by hand. Both sides run on one machine,
 * so integers are in its byte order.
 */
#ifndef MQSPAN_EVENTS_H
#define MQSPAN_EVENTS_H

/* A slash, a name of up to NAME_MAX (255, mq_overview(7)), and zero bytes. */
#define QUEUE_NAME_SIZE 264
#define QUEUE_NAME_MAX 256
#define COMM_SIZE 16
/* One component of a path with its zero byte: NAME_MAX, also in cgroups. */
#define PATH_PART_SIZE 256
#define PATH_SIZE 1280
/* Most bytes that are sent of a process's environment. */
#define ENVIRONMENT_MAX 16384
/* MAX_PID_NS_LEVEL (include/linux/pid_namespace.h) plus the initial one. */
#define PID_LEVELS 33

enum event_kind {
	EVENT_CALL = 1,
	EVENT_PROCESS = 2,
	EVENT_ENVIRONMENT = 3,
	EVENT_PATH = 4,
	EVENT_CALL_IN_CONTEXT = 5,
};

/* Each is named as in the system call table of its own ABI. */
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
	/* x32 calls that differ from x86-64: 32-bit structs behind pointers. */
	ABI_X32 = 5,
};

/* Which fields of a call are valid, and what is known about the call. */
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
	/* The call was already blocked when the agent attached. */
	CALL_START_UNKNOWN = 1 << 8,
	/* Restart of an interrupted call; interrupted_start_ns is valid. */
	CALL_RESTARTED = 1 << 9,
	/* A send that made a message, or a receive whose sender is known. */
	CALL_MESSAGE = 1 << 10,
	/* notify and signo hold what mq_notify was passed. */
	CALL_ARGUMENTS = 1 << 11,
	/* mq_notify with a NULL sigevent: unregister. */
	CALL_NOTIFY_NONE = 1 << 12,
	/* The thread died of death_signal in the call; ret is meaningless. */
	CALL_DIED = 1 << 13,
	/* payload_len bytes of the message follow: see PAYLOAD_OFFSET. */
	CALL_PAYLOAD = 1 << 14,
	/* At the entry the filter could not decide about the call. */
	CALL_UNDECIDED = 1 << 15,
	/* A receive: the send had not returned when the message was taken. */
	CALL_SENDER_IN_CALL = 1 << 16,
	/*
	 * A receive: the send's record did not reach the agent. With
	 * CALL_SENDER_IN_CALL: it may not reach the agent.
	 */
	CALL_SENDER_UNTOLD = 1 << 17,
	/* A signal ended the wait, and the kernel enters the call again. */
	CALL_REENTERED = 1 << 18,
	/* Nothing names the queue any more. */
	CALL_UNLINKED = 1 << 19,
	/* A send: cause_* and root_* are valid. */
	CALL_CAUSE = 1 << 20,
	/* The call is in the trace of its cause, as its child. */
	CALL_CHILD = 1 << 21,
	/*
	 * A send or receive: from the return of the thread's last receive with
	 * a message to this entry, it has neither slept nor read anything.
	 */
	CALL_NO_WAIT = 1 << 22,
};

/*
 * One call, from its entry to its return. The record ends with the name: it has
 * CALL_FIXED_SIZE + name_len bytes, rounded up to 8, unless CALL_PAYLOAD is
 * set.
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
	__u32 payload_len; /* bytes of the message after name */
	__u32 oflag; /* mq_open */
	__u32 mode; /* mq_open */
	__s32 notify; /* mq_notify: sigev_notify */
	__s32 signo; /* mq_notify: sigev_signo */
	/*
	 * start_ns of what the call comes of: for a receive with CALL_MESSAGE
	 * the send of its message, for a send with CALL_CAUSE the receive.
	 */
	__u64 cause_start_ns;
	__u64 message_created_ns; /* when the message was made, CLOCK_BOOTTIME */
	__u64 interrupted_start_ns; /* start_ns of the call this one restarts */
	__u64 root_start_ns; /* start_ns of the first call in the cause's trace */
	__u32 root_tid; /* tid of that call */
	__u32 cause_tid;
	__u32 padding;
	__u32 name_len; /* bytes of name with its slash, without zero bytes */
	char comm[COMM_SIZE]; /* of the thread, at the return */
	char name[QUEUE_NAME_SIZE]; /* with its leading slash */
};

#define CALL_FIXED_SIZE __builtin_offsetof(struct call_event, name)

_Static_assert(CALL_FIXED_SIZE == 192, "layout of call_event");
_Static_assert(sizeof(struct call_event) == 192 + QUEUE_NAME_SIZE,
	       "layout of call_event");

/*
 * Offset of the payload from the start of name. The name keeps a zero byte
 * behind it, because it stays in the thread's record. name_len is 0 without
 * CALL_NAME.
 */
#define PAYLOAD_OFFSET(name_len) ((((__u64)(name_len)) + 8) & ~7ULL)
#define PAYLOAD_MAX 4096

/* A span of an application, as the thread that works for it publishes it. */
struct application_span {
	__u64 trace_id[2]; /* 16 bytes in the order of W3C Trace Context */
	__u64 span_id; /* 8 bytes, likewise */
	__u8 trace_flags; /* of W3C Trace Context */
	__u8 is_known;
	__u8 padding[6];
};

/*
 * In front of a call_event, as one record with it, where a trace of an
 * application is involved: few calls have it.
 */
struct call_context {
	__u8 kind; /* EVENT_CALL_IN_CONTEXT */
	/* The root of the cause is in a trace of an application. */
	__u8 has_root_trace;
	__u8 root_trace_flags;
	__u8 padding[5];
	struct application_span span; /* that the call is made for */
	__u64 root_trace_id[2];
};

_Static_assert(sizeof(struct call_context) == 56, "layout of call_context");

/*
 * The kinds of tenants between which room is shared. Only the host's root can
 * make tenants; a tenant can make as many users as it likes.
 */
enum tenant_kind {
	TENANT_HOST = 0, /* everyone to whom no other rule applies */
	TENANT_CONTAINER = 1, /* kernfs_node.id of its cgroup */
	TENANT_PID_NS = 2, /* inode number */
	TENANT_USER_NS = 3, /* inode number */
};

struct owner {
	__u64 tenant; /* see enum tenant_kind; 0 for TENANT_HOST */
	__u32 kind; /* enum tenant_kind */
	__u32 user; /* user id, initial user namespace */
};

/* A process's id in one PID namespace. */
struct pid_level {
	__u32 pid;
	__u32 ns; /* inode number of the namespace */
};

/* The execution of a process that an event is about. */
struct execution {
	__u64 process_start_ns; /* CLOCK_BOOTTIME */
	__u32 pid; /* thread group id, initial PID namespace */
	__u32 exec_id;
};

enum path_kind {
	/* The executable, up to the root of its mount namespace. */
	PATH_EXE = 1,
	PATH_CGROUP = 2, /* up to the root of its hierarchy */
};

/*
 * A path of a process: its components, the last one first, each followed by a
 * zero byte.
 */
struct path_event {
	__u8 kind; /* EVENT_PATH */
	__u8 path; /* enum path_kind */
	__u8 is_whole; /* the path is complete up to the root */
	__u8 padding;
	__u32 len; /* bytes of parts in use */
	struct execution execution;
	/* Offset in parts of the name of the cgroup owner.tenant, or -1. */
	__u32 tenant_at;
	__u32 padding2;
	char parts[PATH_SIZE];
};

_Static_assert(sizeof(struct path_event) == 32 + PATH_SIZE,
	       "layout of path_event");

/* The environment as execve() left it. The record may be longer than needed. */
struct environment_event {
	__u8 kind; /* EVENT_ENVIRONMENT */
	__u8 is_whole;
	__u8 padding[2];
	__u32 len; /* bytes of environ */
	struct execution execution;
	char environ[ENVIRONMENT_MAX];
};

#define ENVIRONMENT_FIXED_SIZE \
	__builtin_offsetof(struct environment_event, environ)

/*
 * Sent at a process's first call, at its first call after execve(), and again
 * once the agent has forgotten the process. The paths and the environment of
 * the same execution come before, as far as there was room for them.
 */
struct process_event {
	__u8 kind; /* EVENT_PROCESS */
	__u8 padding;
	__u16 pid_levels; /* entries of pids, from the initial namespace on */
	__u32 uid; /* real user id, initial user namespace */
	struct execution execution;
	__u64 cgroup_id; /* cgroup_key() of the cgroup in PATH_CGROUP */
	__u32 mount_ns; /* inode numbers of namespaces */
	__u32 user_ns;
	struct owner owner;
	char comm[COMM_SIZE]; /* of the thread group leader */
	struct pid_level pids[PID_LEVELS];
};

_Static_assert(sizeof(struct process_event) == 72 + 8 * PID_LEVELS,
	       "layout of process_event");

/* What it_processes tells about each process, on request. */
struct process_entry {
	__u32 pid; /* initial PID namespace */
	__u32 parent;
	__u32 pid_here; /* in the reader's PID namespace; 0: not there */
	__u32 level_here; /* level of that namespace; 0: the initial one */
};

/* Identifies a queue, whatever its name. */
struct queue_key {
	__u64 queue; /* inode number */
	__u32 ipc_ns; /* inode number */
	__u32 padding;
};

/* Why a call with a known owner was lost. */
enum owner_loss {
	/* No room in the ring buffer, or none for this owner. */
	LOST_RING_FULL = 1,
	/* No room for a record of the thread, or none for this owner. */
	LOST_IN_FLIGHT_FULL = 2,
};

/* All zero: owners that found no room in the table. */
struct lost_owner_key {
	struct owner owner;
	__u32 reason; /* enum owner_loss */
	__u32 padding;
};

/* One more than there are bounds in agent/src/histogram/explicit.rs. */
#define DURATION_BUCKETS 70

struct durations {
	/* Counts; 32 bits are enough, as the agent takes them once a second. */
	__u32 buckets[DURATION_BUCKETS];
	__u32 padding;
	__u64 sum_ns;
	__u64 min_ns;
	__u64 max_ns;
};

/* Which calls. All zero: calls that found no room in the table. */
struct lost_key {
	__u64 queue; /* inode number; without one, a hash of the name */
	__u32 ipc_ns;
	/* errno, 0 on success; ERESTARTSYS if the kernel enters the call again */
	__u16 error;
	__u8 op; /* enum call_op */
	__u8 death_signal;
};

/* Metrics of the calls whose record found no room in the ring. */
struct lost_calls {
	struct durations duration; /* from entry to return */
	struct durations time_in_queue;
	__u64 sent; /* messages that sends tried to put into queues */
	__u64 consumed; /* messages that receives took */
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
	__u64 entered; /* entries that passed the filters and have a record */
	__u64 start_unknown; /* calls found blocked at attach */
	__u64 filtered_entry; /* calls that a filter dropped at the entry */
	__u64 filtered_return; /* calls that a filter dropped at the return */
	__u64 submitted; /* events of calls in the ring buffer */
	__u64 ring_full; /* calls lost: no room in the ring buffer */
	__u64 in_flight_full; /* calls lost: no room for a thread record */
	__u64 entry_missed; /* calls lost: a return without an entry */
	__u64 return_missed; /* calls lost: their return was not seen */
	__u64 process_lost; /* process events that found no room */
	__u64 message_lost; /* messages whose identity found no room */
	__u64 child_lost; /* children of filtered processes, no room in pids */
	__u64 entry_doubtful; /* entry_missed, or refused before the entry */
};

#endif
