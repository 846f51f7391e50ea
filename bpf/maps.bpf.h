/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MQSPAN_MAPS_BPF_H
#define MQSPAN_MAPS_BPF_H

/* Set before load, then constant: the verifier removes code that is off. */
const volatile bool use_task_storage = true;
/* The kernel has bpf_rdonly_cast(), and these programs may call it. */
const volatile bool use_casts = false;
/* The entry functions' argument cannot be used; see backend_fentry.bpf.h. */
const volatile bool registers_on_stack = false;
/* Messages are followed: hooks where they are made and taken, and a map. */
const volatile bool follows_messages = false;
/* Each hook has several programs: see "Spares" in call.bpf.h. */
const volatile bool has_spares = false;
/* The kernel can skip runs of programs: see "Spares", too. */
const volatile bool entries_go_missing = false;
/* The hooks are at every system call of the host, even a refused one. */
const volatile bool hooks_every_call = false;
/* The agent is woken when the ring holds this many bytes. */
const volatile __u64 wakeup_bytes = 1 << 20;
/* The fill level is checked when these bits of the hashed time are zero. */
const volatile __u64 look_mask = 31;

/* Bytes of each message to capture; 0: none. */
const volatile __u32 payload_max = 0;
/* Ring size, and the fill level from which owners are held to shares; bytes. */
const volatile __u64 ring_bytes = 8 << 20;
const volatile __u64 pressure_bytes = 1 << 20;
/* How many threads can have a record at the same time. */
const volatile __u64 max_threads = 65536;

/* Set by the agent, may change at run time. */
struct filter_settings {
	__u64 min_duration_ns; /* 0: off */
	__u32 operations; /* bit n: calls of enum call_op n are wanted */
	__u8 native; /* calls of the native ABI are wanted */
	__u8 compat; /* calls of the 32-bit ABI are wanted */
	__u8 errors_only;
	/* Which criteria are set, and the verdict on what no rule names. */
	__u8 by_caller; /* by_uid, by_container or by_comm */
	__u8 by_process; /* look up the map pids */
	__u8 pid_default;
	__u8 by_uid;
	__u8 uid_default;
	__u8 by_namespace;
	__u8 namespace_default;
	__u8 by_container; /* look up the map cgroups */
	__u8 by_comm;
	__u8 by_queue;
	__u8 queue_default; /* for a call without the name of a queue */
	__u8 agent_decides; /* passes calls that the agent will drop */
	/*
	 * Counts the filters so far. What is too large for this struct exists
	 * twice, for odd and for even generations, so that a program never sees
	 * half of one filter and half of another.
	 */
	__u32 generation;
};
struct filter_settings filter;

/* traces.chains.mode */
enum chain_mode {
	CHAINS_NONE = 0,
	CHAINS_LINK = 1,
	CHAINS_PROVEN = 2,
	CHAINS_THREAD = 3,
};

/* Set by the agent, may change at run time. */
struct chain_settings {
	__u64 max_age_ns; /* of a chain and of a cause; 0: no limit */
	__u32 max_hops; /* calls in a row */
	__u16 mode; /* enum chain_mode */
	__u16 joins_receives; /* a receive is the child of its send */
};
struct chain_settings chains;

/* The verdict of a whole filter or of one criterion. */
enum verdict { UNKNOWN = 0, WANTED = 1, UNWANTED = 2 };

/*
 * Glob patterns as an automaton, built by the agent (name_table.rs). Starting
 * at cell 0, each byte of the name selects a column, which leads to the next
 * cell. At the end of the name the column end leads to the verdict.
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

/* Set by the agent once it_blocked has looked for those. */
__u64 found_all;

/* Set by the agent while it waits, cleared when it is woken. */
__u64 agent_waits;

/* The ring is so full that owners are held to their shares. */
__u64 ring_pressure;

/* Set by the agent while the pressure lasts: a flood, not a burst. */
__u64 ring_overload;

/* Set when a call was lost and is in the tables below; cleared by the agent. */
__u64 calls_were_lost;

/* Calls that began without room for a record; their return counts them. */
__s64 without_record;

/* How many threads have a record. */
__u64 followed;

/* How many processes are in the map contexts; both sides add to it. */
__u64 contexts_known;

/* Incremented when the agent forgets processes; see process_identify(). */
__u32 identity_generation;

/* Set by the agent if it wants the environments of processes. */
__u64 send_environment;

/* Level of the agent's PID namespace; deeper ones are containers. */
__u32 agent_pid_level;

/* What a thread is doing with message queues. */
enum thread_state {
	THREAD_IDLE = 0,
	THREAD_IN_CALL = 1,
	/* A signal ended the wait; what follows is not known yet. */
	THREAD_INTERRUPTED = 2,
	/* In a call that the filter dropped and counted. */
	THREAD_FILTERED = 3,
};

/* Which of the programs of a hook; one bit each. */
enum program { FIRST = 1, SECOND = 2, THIRD = 4, FOURTH = 8 };

/* How a record is counted in followed and in the shares of its owner. */
enum counted_as { FOLLOWED = 1, FOLLOWED_WITH_LITTLE = 2 };

/* How many may be waited for one behind the other; see asked_of(). */
#define MAX_ASKED 4

/* The call that began a trace, and how far a later call is from it. */
struct trace_root {
	__u64 start_ns;
	__u32 tid;
	__u32 pid; /* thread group */
	__u32 hops; /* calls up to the later one, both included */
	__u8 is_away; /* another process has had a part in the trace */
	__u8 is_application; /* the trace is an application's; else its own */
	__u8 trace_flags; /* of the application's trace */
	__u8 padding;
	/*
	 * Who may wait for what comes of traces that this one may go on with,
	 * the last at the end: processes, and threads of the process that took
	 * their message. 0: nobody.
	 */
	__u32 asked[MAX_ASKED];
	__u64 trace_id[2]; /* of the application's trace */
};

/* The last message that the thread has taken; see chain.bpf.h. */
struct chain {
	__u64 cause_start_ns; /* start_ns of its receive; 0: there is none */
	struct trace_root root; /* of the receive */
	__u64 taken_ns; /* end_ns of the receive */
	__u64 waits; /* of the thread, at the return of the receive */
	__u64 reads;
	__u32 generation; /* of the filter: another one may leave calls out */
};

/*
 * A thread's call in flight. The record stays between calls, so that the next
 * call on the same descriptor finds the name and the limits of the queue in it.
 */
struct thread_record {
	__u64 state; /* enum thread_state */
	__u64 timeout_ptr; /* user address of the timespec */
	__u64 priority_ptr; /* receive: user address of the priority */
	__u64 argument_ptr; /* user address of the name or the sigevent */
	__u64 message_ptr; /* user address of the message */
	__u64 sent_message; /* struct msg_msg that the send made, or 0 */
	__u64 interrupted_hash; /* call_hash() of the last interrupted call */
	__u64 interrupted_start_ns; /* start_ns of that call, or 0 */
	__u64 interrupted_ip; /* user-space ip at that time */
	__u64 interrupted_sp;
	/* The file resolved last, and what was found behind it. */
	__u64 file;
	__u64 inode;
	__u64 inode_number;
	/* identity_generation and exec_id + 1 of the last announcement. */
	__u64 announced;
	struct owner owner;
	__u64 cgroup; /* cgroup_key() of the path sent last */
	__u32 queue_ipc_ns;
	__u32 judged; /* filter_settings.generation of the verdicts */
	/* enum program: those that ran at the entry, and at the return. */
	__u8 entered_by;
	__u8 returned_by;
	/* enum verdict of the filter on names that are cached here. */
	__u8 comm_verdict;
	__u8 queue_verdict; /* on the queue behind file */
	__u8 is_followed; /* enum counted_as; 0: not counted */
	__u8 queue_is_noted; /* the queue of file is in queues, or cannot be */
	__u8 goes_back; /* the next entry can restart the interrupted call */
	__u8 is_awaited; /* is counted in found_blocked */
	__u64 comm[2]; /* the name that comm_verdict is about */
	struct chain chain;
	struct trace_root root; /* of the call */
	struct application_span interrupted_for; /* by the interrupted call */
	struct call_context context; /* in front of call */
	struct call_event call; /* copied to the ring as it is */
};

/* With room for the first bytes of a message behind the call's name. */
struct thread_with_payload {
	struct thread_record thread;
	char room[PAYLOAD_MAX + 8];
};

/*
 * One record per thread, at most max_threads of them (thread_follow()).
 * Inserted at the first call, deleted by the kernel with the thread.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread_record);
} threads SEC(".maps");

/*
 * The same by thread id, for kernels whose tracing programs have no task
 * storage (before 5.11). Inserted at the first call, deleted at thread exit.
 * Not an LRU map, which would evict the receiver that has been blocked longest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct thread_record);
} threads_by_id SEC(".maps");

/* The same two with room for payloads. Only one of these four maps exists. */
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

/* What an owner has of the shared resources; see share.bpf.h. */
struct share {
	/*
	 * Positions in the ring: the bytes of older lie between begin and
	 * middle, those of newer between middle and last.
	 */
	__u64 begin;
	__u64 middle;
	__u64 last;
	__u32 older; /* bytes */
	__u32 newer; /* bytes */
	__u32 threads; /* records of threads */
	__u32 padding;
};

/*
 * Inserted when a thread of the owner gets its record, and while the ring is
 * under pressure; for a tenant as a whole with user WHOLE_TENANT. When full,
 * the least recently used owner is evicted and starts again from zero.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct owner);
	__type(value, struct share);
} shares SEC(".maps");

/*
 * The execution of each announced process, by thread group id. Inserted with
 * the process event, deleted by the agent when it forgets the process. When
 * full, the least recently used one is evicted, and its process is sent again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct execution);
} announcements SEC(".maps");

/* Events for the agent. When full, the event is lost and counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

/* What became of a send: no span may have a parent that is never exported. */
enum send_fate {
	SEND_IN_CALL = 0,
	SEND_TOLD = 1, /* its record is in the ring */
	SEND_UNTOLD = 2, /* the filter dropped it, or the ring was full */
};

/* Stored by a send, found again by the receive of the same message. */
struct message_origin {
	__u64 start_ns; /* of the send */
	__u64 created_ns;
	__u32 tid; /* of the send */
	__u32 fate; /* enum send_fate */
	struct trace_root root; /* of the send */
};

/*
 * Messages in queues, by the address of their struct msg_msg. Inserted when a
 * traced send makes the message, deleted at its receive and when the kernel
 * frees it: received, not sent after all, or gone with its queue. When full,
 * the message travels without identity and is counted as message_lost.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct message_origin);
} messages SEC(".maps");

/*
 * How to get from a thread's pointer to its variable otel_thread_ctx_v1
 * (context.bpf.h). Without a module, the variable is at a fixed offset.
 */
struct context_recipe {
	struct execution execution; /* that it was found in */
	__s64 offset; /* of the variable, from the pointer or in its block */
	__u32 module; /* number of the module with the variable, or 0 */
	__u8 word; /* bytes of a pointer */
	__u8 entry; /* bytes of an entry of the vector of modules */
	__s8 vector_at; /* of the pointer to that vector, from the pointer */
	__s8 length_at; /* of the vector's length, from the vector */
};

/*
 * The processes that publish the spans of their threads, by thread group id.
 * Inserted by the agent once it has found out how, deleted with the process and
 * when the agent forgets it. When full, which takes more processes than the
 * agent remembers, calls of further ones are nobody's work.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct context_recipe);
} contexts SEC(".maps");

/*
 * enum verdict of processes, by thread group id. Children inherit it at fork;
 * it is deleted with the process. When full, pid_default applies to the child,
 * which is counted in child_lost.
 */
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
 * Queues whose depth was reported, so that the agent can ask whether they still
 * exist: neither rm in a mounted mqueue nor the end of an IPC namespace is an
 * mq_* call. Inserted at the return of a call, deleted by the agent once the
 * queue is gone. When full, a queue without an entry counts as gone once nobody
 * calls.
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

/*
 * enum verdict of users and IPC namespaces. The agent inserts what the filter
 * names, and deletes what the filter before last named. It never inserts more
 * than fits.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct id_key);
	__type(value, __u8);
} ids SEC(".maps");

/*
 * Metrics and owners of the calls whose record did not get into the ring. Two
 * tables take turns. The agent puts the empty one in place, and the kernel then
 * waits until no program uses the other one (maybe_wait_bpf_programs(),
 * kernel/bpf/syscall.c). The agent reads the other one and empties it. When
 * full, calls go to the entry whose key is zero, which the agent inserts.
 *
 * Before the first turn the slot is empty, which stands for the first table:
 * filling the slot takes an RCU grace period, 10 ms of a start.
 *
 * Sizes instead of types: clang leaves types out of the slot's BTF, and to
 * Linux 6.1 a table with types does not equal one without
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
	__u32 generation; /* of the filter that gave the verdict */
	__u32 verdict; /* enum verdict */
};

/*
 * Whether calls from a cgroup are wanted, by cgroup_key(). The agent inserts a
 * verdict once it knows a process's container; calls from a cgroup without one
 * are sent to it. When full, the least recently used entry is evicted.
 */
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

/* For inserts into hash maps: a record does not fit on the BPF stack. */
static const struct thread_record empty_thread;
static const struct thread_with_payload empty_thread_with_payload;

/* These put the types of the wire into the agent's generated code. */
struct process_event layout_of_process_event;
struct environment_event layout_of_environment_event;
struct path_event layout_of_path_event;
struct process_entry layout_of_process_entry;
struct call_context layout_of_call_context;
struct context_recipe layout_of_context_recipe;
struct queue_key layout_of_queue_key;
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
enum chain_mode layout_of_chain_mode;
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
