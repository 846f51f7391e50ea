/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MQSPAN_MAPS_BPF_H
#define MQSPAN_MAPS_BPF_H

/* Set before load, constant from then on: the verifier drops what is off. */
const volatile bool use_task_storage = true;
/* The kernel has bpf_rdonly_cast(), and these programs may call it. */
const volatile bool use_casts = false;
/* The entry functions' argument cannot be used; see backend_fentry.bpf.h. */
const volatile bool registers_on_stack = false;
/* There are hooks at the making and the taking of messages, and a map of them. */
const volatile bool follows_messages = false;
/* Each hook has several programs: see "Spares" in call.bpf.h. */
const volatile bool has_spares = false;
/* The kernel leaves out runs of programs: see "Spares", too. */
const volatile bool entries_go_missing = false;
/* Hooks are at every system call of the host, whether it gets to run or not. */
const volatile bool hooks_every_call = false;
/* Bytes in the ring from which on the agent is woken. */
const volatile __u64 wakeup_bytes = 1 << 20;
/* The fill level is looked at when these bits of the time's hash are zero. */
const volatile __u64 look_mask = 31;

/* Bytes of each message to capture; 0: none. */
const volatile __u32 payload_max = 0;
/* Bytes of the ring; bytes in it from which on owners are held to shares. */
const volatile __u64 ring_bytes = 8 << 20;
const volatile __u64 pressure_bytes = 1 << 20;
/* Records of threads at the same time. */
const volatile __u64 max_threads = 65536;

/* Set by the agent, may change at run time. */
struct filter_settings {
	__u64 min_duration_ns; /* 0: off */
	__u32 operations; /* bit n: calls of enum call_op n are wanted */
	__u8 native; /* calls of the native ABI are wanted */
	__u8 compat; /* calls of the 32-bit ABI are wanted */
	__u8 errors_only;
	/* Which criteria there are, and what is true of what none names. */
	__u8 by_caller; /* by_uid, by_container or by_comm */
	__u8 by_process; /* the map pids is to be asked */
	__u8 pid_default;
	__u8 by_uid;
	__u8 uid_default;
	__u8 by_namespace;
	__u8 namespace_default;
	__u8 by_container; /* the map cgroups is to be asked */
	__u8 by_comm;
	__u8 by_queue;
	__u8 queue_default; /* of a call without a name of a queue */
	__u8 agent_decides; /* lets pass what the agent will drop */
	/* Counts the filters so far. Odd and even ones have what is too large
	 * for this struct in two places, so that a program never sees half of
	 * the one and half of the other. */
	__u32 generation;
};
struct filter_settings filter;

/* A verdict of a filter, and of one criterion. */
enum verdict { UNKNOWN = 0, WANTED = 1, UNWANTED = 2 };

/*
 * Glob patterns as the table of an automaton, made by the agent (name_table.rs):
 * from a cell, at first cell 0, a byte of the name leads by its column to the
 * next cell, and at the end of the name the column end to the verdict.
 */
#define NAME_CELLS 32768
struct name_table {
	__u8 column[256];
	__u16 end;
	__u16 cells[NAME_CELLS];
};

enum name_kind { NAME_COMM = 0, NAME_QUEUE = 1 };
struct name_table names[2][2]; /* generation & 1, enum name_kind */

/* Calls that were in flight at attach and have not returned yet. */
__u64 found_blocked;

/* Set by the agent once those have been looked for. */
__u64 found_all;

/* Set by the agent while it waits, and taken back when it is woken. */
__u64 agent_waits;

/* The ring is so full that owners are held to their shares. */
__u64 ring_pressure;

/* Set by the agent while the pressure lasts. */
__u64 ring_overload;

/* There is something in the tables of what was lost; the agent takes it back. */
__u64 calls_were_lost;

/* Calls that have begun and found no room for a record; their return counts them. */
__s64 without_record;

/* Threads that have a record. */
__u64 followed;

/* Goes up when the agent has forgotten processes; see process_identify(). */
__u32 identity_generation;

/* Set by the agent: the environments of processes are wanted. */
__u64 send_environment;

/* How deep the agent's PID namespace is; what is deeper is a container. */
__u32 agent_pid_level;

/* What a thread is doing, as far as message queues go. */
enum thread_state {
	THREAD_IDLE = 0,
	THREAD_IN_CALL = 1,
	/* A signal ended the wait; what comes of it is not known yet. */
	THREAD_INTERRUPTED = 2,
	/* In a call that the filter has dropped, and counted. */
	THREAD_FILTERED = 3,
};

/* Which of the programs of a hook. */
enum program { FIRST = 1, SECOND = 2, THIRD = 4, FOURTH = 8 };

/* How a record counts in followed, and in the shares of its owner. */
enum counted_as { FOLLOWED = 1, FOLLOWED_WITH_LITTLE = 2 };

/*
 * A thread's call in flight. It stays between calls: the next call on the
 * same descriptor finds name and limits of the queue already there.
 */
struct thread_record {
	__u64 state; /* enum thread_state */
	__u64 timeout_ptr; /* user address of the timespec */
	__u64 priority_ptr; /* receive: user address of the priority */
	__u64 argument_ptr; /* user address of the name or the sigevent */
	__u64 message_ptr; /* user address of the message */
	__u64 sent_message; /* struct msg_msg that the send has made, or 0 */
	__u64 interrupted_hash; /* the same of the call a signal ended last */
	__u64 interrupted_start_ns; /* of the wait a signal ended last, or 0 */
	__u64 interrupted_ip; /* where the thread was in user space then */
	__u64 interrupted_sp;
	/* The descriptor resolved last, and what was found behind it. */
	__u64 file;
	__u64 inode;
	__u64 inode_number;
	/* identity_generation and exec_id + 1 that a process event was sent for. */
	__u64 announced;
	struct owner owner;
	__u64 cgroup; /* cgroup_key() of the path that was sent last */
	__u32 queue_ipc_ns;
	__u32 judged; /* filter_settings.generation of the verdicts */
	/* enum program: which have come by at the entry, and at the return. */
	__u8 entered_by;
	__u8 returned_by;
	/* enum verdict: what the filter says of the names that these are. */
	__u8 comm_verdict;
	__u8 queue_verdict; /* of what file is */
	__u8 is_followed; /* enum counted_as, 0: it does not count */
	__u8 queue_is_noted; /* what file is stands in queues, or cannot */
	__u8 goes_back; /* to the call that was interrupted, with its next entry */
	__u8 is_awaited; /* counts in found_blocked */
	__u64 comm[2]; /* that comm_verdict is of */
	struct call_event call; /* goes into the ring as it is */
};

/* With room for the first bytes of a message behind the call's name. */
struct thread_with_payload {
	struct thread_record thread;
	char room[PAYLOAD_MAX + 8];
};

/*
 * One record a thread, max_threads of them at most (thread_follow()). Inserted
 * at the first call, deleted by the kernel with the thread.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread_record);
} threads SEC(".maps");

/*
 * The same where tracing programs have no task storage (before 5.11), by
 * thread id. Inserted at the first call, deleted at thread exit. No LRU: it
 * would forget the receiver first that has been blocked longest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct thread_record);
} threads_by_id SEC(".maps");

/* Either of the two where payloads are captured: there is one of these four. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread_with_payload);
} threads_payload SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct thread_with_payload);
} tids_payload SEC(".maps");

/* What an owner has of what all share; see share.bpf.h. */
struct share {
	/* Positions in the ring: older lies between the first and the second,
	 * newer between the second and the third. */
	__u64 begin;
	__u64 middle;
	__u64 last;
	__u32 older; /* bytes */
	__u32 newer; /* bytes */
	__u32 threads; /* records of threads */
	__u32 padding;
};

/*
 * Inserted when an owner's thread gets its record, and while the ring is under
 * pressure; of a tenant as a whole with user WHOLE_TENANT. When full, who was
 * not seen for longest is forgotten, and begins anew with nothing.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct owner);
	__type(value, struct share);
} shares SEC(".maps");

/*
 * The execution of a process that was announced, by thread group id. Inserted
 * with the process event, deleted by the agent
 * when it forgets the process. When full, who was not asked for longest is
 * forgotten, and sent again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct execution);
} announcements SEC(".maps");

/* Events on their way to the agent. When full the event is lost, counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

/* What became of a send: a span must not have a parent that nobody is told of. */
enum send_fate {
	SEND_IN_CALL = 0,
	SEND_TOLD = 1, /* its record is in the ring */
	SEND_UNTOLD = 2, /* the filter has dropped it, or the ring was full */
};

/* Made by a send; found again by the receive of the same message. */
struct message_origin {
	__u64 start_ns; /* of the send */
	__u64 created_ns;
	__u32 tid; /* of the send */
	__u32 fate; /* enum send_fate */
};

/*
 * Messages in queues, by the address of their struct msg_msg. Inserted when a
 * traced send makes the message, deleted when the kernel frees it: received,
 * not sent after all, or gone with its queue. When full the message travels
 * without identity, counted as message_lost.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct message_origin);
} messages SEC(".maps");

/* enum verdict of processes by thread group id; children inherit at fork, and
 * are deleted with the process. When full a child is as pid_default says, and
 * counts in child_lost. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u8);
} pids SEC(".maps");

/* The inode of a queue, which may be gone. */
struct queue_seen {
	__u64 inode; /* kernel address */
	__u64 sb; /* kernel address */
};

/*
 * Queues whose depth was told, so that the agent can ask whether they are
 * still there: neither rm in a mounted mqueue nor the end of an IPC namespace
 * is one of our calls. Inserted at a call's return, deleted by the agent once
 * the queue is gone. When full, a queue counts as gone when nobody calls.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct queue_key);
	__type(value, struct queue_seen);
} queues SEC(".maps");

enum id_kind { ID_UID = 1, ID_NAMESPACE = 2 };

struct id_key {
	__u16 slot; /* generation & 1 */
	__u16 kind; /* enum id_kind */
	__u32 id;
};

/* enum verdict of users and IPC namespaces. The agent inserts what the filter
 * names, and deletes what the last but one did; it makes no more than fit. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct id_key);
	__type(value, __u8);
} ids SEC(".maps");

/*
 * What the metrics count of calls whose record did not get into the ring, and
 * whose they were. Two tables take turns: the agent puts the empty one in
 * place, upon which the kernel waits until no program has the other one in
 * hand (maybe_wait_bpf_programs(), kernel/bpf/syscall.c), reads that and
 * empties it. When full, calls go to the entry whose key is zero, which the
 * agent inserts. Before the first change of turns the slot is empty, and the
 * first table is meant: to fill it takes an RCU grace period, 10 ms of a start.
 * Sizes instead of types: clang leaves types out of the slot's BTF, and to
 * Linux 6.1 a table with types is not equal to one without
 * (bpf_map_meta_equal()).
 */
struct lost_calls_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(key_size, sizeof(struct lost_key));
	__uint(value_size, sizeof(struct lost_calls));
} lost_calls_a SEC(".maps"), lost_calls_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct lost_calls_table);
} lost_calls SEC(".maps");

struct lost_owners_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__uint(key_size, sizeof(struct lost_owner_key));
	__uint(value_size, sizeof(__u64));
} lost_owners_a SEC(".maps"), lost_owners_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct lost_owners_table);
} lost_owners SEC(".maps");

struct cgroup_verdict {
	__u32 generation; /* of the filter that it is of */
	__u32 verdict; /* enum verdict */
};

/* Whether calls from a cgroup are wanted, by cgroup_key(). The agent inserts
 * what it finds out of a process's container; what is not there is sent to it.
 * When full, what was not asked for longest is forgotten. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct cgroup_verdict);
} cgroups SEC(".maps");

/* Inserted at creation, never deleted. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

/* For the inserts into hash maps: a record has no room on the stack. */
static const struct thread_record empty_thread;
static const struct thread_with_payload empty_thread_with_payload;

/* So that the types of the wire reach the agent's generated code. */
struct process_event layout_of_process_event;
struct environment_event layout_of_environment_event;
struct path_event layout_of_path_event;
struct process_entry layout_of_process_entry;
struct queue_entry layout_of_queue_entry;
struct lost_owner_key layout_of_lost_owner_key;
struct lost_key layout_of_lost_key;
struct lost_calls layout_of_lost_calls;
enum path_kind layout_of_path_kind;
enum tenant_kind layout_of_tenant_kind;
enum owner_loss layout_of_owner_loss;
enum event_kind layout_of_event_kind;
enum call_op layout_of_call_op;
enum call_abi layout_of_call_abi;
enum call_flag layout_of_call_flag;
enum verdict layout_of_verdict;
enum name_kind layout_of_name_kind;
enum id_kind layout_of_id_kind;
struct id_key layout_of_id_key;
struct cgroup_verdict layout_of_cgroup_verdict;

/* fentry programs can be preempted on their CPU, hence the atomic add. */
#define COUNT(field)                                                \
	do {                                                        \
		__u32 zero_ = 0;                                    \
		struct counters *counters_ =                        \
			bpf_map_lookup_elem(&counts, &zero_);       \
		if (counters_)                                      \
			__sync_fetch_and_add(&counters_->field, 1); \
	} while (0)

#endif
