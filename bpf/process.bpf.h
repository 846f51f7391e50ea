/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Identity of callers. A process's first call, and its first after execve(),
 * sends what the kernel knows about it. A process that lives for milliseconds
 * is gone before anyone can look into /proc, and what /proc gives a reader of
 * another process can be endless or never come.
 */
#ifndef MQSPAN_PROCESS_BPF_H
#define MQSPAN_PROCESS_BPF_H

#define EXE_PARTS 44 /* with one for each mount on the way */
#define CGROUP_PARTS 24
#define PATH_MASK 0x7ff /* covers any offset in parts */
#define ENVIRONMENT_CHUNK 4096
/* A smaller ring is left to calls; the agent asks /proc for the rest. */
#define RING_FOR_IDENTITY (64 << 10)

static __always_inline struct execution
execution_of(const struct thread_record *thread)
{
	struct execution execution = {
		.process_start_ns = thread->call.process_start_ns,
		.pid = thread->call.pid,
		.exec_id = thread->call.exec_id,
	};

	return execution;
}

static __always_inline struct path_event *
path_reserve(const struct thread_record *thread, __u8 kind)
{
	struct path_event *event =
		bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return NULL;
	event->kind = EVENT_PATH;
	event->path = kind;
	event->is_whole = 0;
	event->padding = 0;
	event->execution = execution_of(thread);
	event->tenant_at = -1;
	event->padding2 = 0;
	event->len = 0;
	return event;
}

/*
 * Zero, but the verifier knows no more about it than about what part_read()
 * returns, so that the first iteration is like the others.
 */
static __always_inline __u64 path_begin(const struct path_event *event)
{
	__u64 at = *(const volatile __u32 *)&event->len;

	return at & PATH_MASK;
}

/*
 * Appends a component to a path and returns the new length. The caller has
 * checked that there is room. The verifier knows the same about the result
 * whatever was read, so it checks the loop once per iteration and not once per
 * sum of lengths.
 */
static __always_inline __u64 part_read(char *path, __u64 at, const void *name)
{
	long len = bpf_probe_read_kernel_str(path + at, PATH_PART_SIZE, name);
	long failed = len >> 63;

	/* No branch here either: an error counts as nothing read. */
	barrier_var(failed);
	at += len & ~failed;
	barrier_var(at);
	return at & PATH_MASK;
}

/*
 * Sends the path of the executable, last component first, through the mounts up
 * to the root of the mount namespace (prepend_path(), fs/d_path.c). This
 * function and its neighbours are not static: see filter.bpf.h.
 */
__noinline int exe_send(void)
{
	struct task_struct *task = current_task();
	struct thread_record *thread = thread_find(task);
	struct file *exe = BPF_CORE_READ(task, mm, exe_file);
	struct dentry *dentry = BPF_CORE_READ(exe, f_path.dentry);
	struct vfsmount *vfsmount = BPF_CORE_READ(exe, f_path.mnt);
	struct mount *mount =
		(void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	struct dentry *top = BPF_CORE_READ(vfsmount, mnt_root);
	struct path_event *event;
	__u64 at;

	if (!thread || !dentry)
		return 0;
	event = path_reserve(thread, PATH_EXE);
	if (!event)
		return 0;
	at = path_begin(event);
#pragma clang loop unroll(disable)
	for (int i = 0; i < EXE_PARTS; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

		if (dentry == top) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount) {
				event->is_whole = 1;
				break;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			top = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		barrier_var(at);
		if (at > PATH_SIZE - PATH_PART_SIZE)
			break;
		at = part_read(event->parts, at,
			       BPF_CORE_READ(dentry, d_name.name));
		/* A memfd_create(2) file has a name but no directory. */
		if (parent == dentry) {
			event->is_whole = 1;
			break;
		}
		dentry = parent;
	}
	event->len = at;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

/* Sends the whole path of the cgroup, last component first. */
__noinline int cgroup_send(void)
{
	struct task_struct *task = current_task();
	struct thread_record *thread = thread_find(task);
	struct cgroup *cgroup = runtime_cgroup(task);
	struct kernfs_node *node = BPF_CORE_READ(cgroup, kn);
	struct path_event *event;
	__u64 at;

	if (!thread)
		return 0;
	thread->cgroup = cgroup_key(cgroup);
	event = path_reserve(thread, PATH_CGROUP);
	if (!event)
		return 0;
	at = path_begin(event);
#pragma clang loop unroll(disable)
	for (int i = 0; i < CGROUP_PARTS; i++) {
		struct kernfs_node *parent = kernfs_parent_of(node);

		if (!parent) {
			event->is_whole = 1;
			break;
		}
		if (BPF_CORE_READ(node, id) == thread->owner.tenant)
			event->tenant_at = at;
		barrier_var(at);
		if (at > PATH_SIZE - PATH_PART_SIZE)
			break;
		at = part_read(event->parts, at, BPF_CORE_READ(node, name));
		node = parent;
	}
	event->len = at;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

/*
 * Reads in chunks, so that a page that is not present loses only what follows
 * it: bpf_probe_read_user() does not wait for a page. execve() has just written
 * them all. Returns how many bytes were read.
 */
static __always_inline __u64 environ_read(char *environ, __u64 room, __u64 from,
					  __u64 len)
{
	__u64 at;

#pragma unroll
	for (at = 0; at < room; at += ENVIRONMENT_CHUNK) {
		__u64 part = len - at;

		if (len <= at)
			return len;
		if (part > ENVIRONMENT_CHUNK)
			part = ENVIRONMENT_CHUNK;
		barrier_var(part);
		if (part > ENVIRONMENT_CHUNK || part > room)
			return at;
		if (bpf_probe_read_user(environ + at, part,
					(const void *)(from + at)))
			return at;
	}
	return len;
}

/* Records have one of a few sizes: the verifier wants constants. */
#define ENVIRONMENT_SEND(thread, room, from, len, whole)                \
	do {                                                            \
		struct environment_event *event_ = bpf_ringbuf_reserve( \
			&events, ENVIRONMENT_FIXED_SIZE + (room), 0);   \
		__u64 sent_;                                            \
		if (!event_) {                                          \
			COUNT(process_lost);                            \
			return 0;                                       \
		}                                                       \
		sent_ = environ_read(event_->environ, room, from, len); \
		event_->kind = EVENT_ENVIRONMENT;                       \
		event_->is_whole = sent_ == (whole);                    \
		event_->padding[0] = 0;                                 \
		event_->padding[1] = 0;                                 \
		event_->len = sent_;                                    \
		event_->execution = execution_of(thread);               \
		bpf_ringbuf_submit(event_, BPF_RB_NO_WAKEUP);           \
	} while (0)

/* How many bytes can be sent; whole gets how many there are. */
static __always_inline __u64 environment_len(struct task_struct *task,
					     __u64 *whole)
{
	*whole = BPF_CORE_READ(task, mm, env_end) -
		 BPF_CORE_READ(task, mm, env_start);
	return *whole < ENVIRONMENT_MAX ? *whole : ENVIRONMENT_MAX;
}

/* Sends an empty environment, too: otherwise it would look like a lost one. */
__noinline int environment_send(void)
{
	struct task_struct *task = current_task();
	struct thread_record *thread = thread_find(task);
	__u64 from = BPF_CORE_READ(task, mm, env_start), whole;
	__u64 len = environment_len(task, &whole);

	if (!thread)
		return 0;
	if (len <= 1024)
		ENVIRONMENT_SEND(thread, 1024, from, len, whole);
	else if (len <= 4096)
		ENVIRONMENT_SEND(thread, 4096, from, len, whole);
	else
		ENVIRONMENT_SEND(thread, ENVIRONMENT_MAX, from, len, whole);
	return 0;
}

static __always_inline void pids_read(struct process_event *process,
				      struct pid *pid)
{
	__u32 level;

#pragma clang loop unroll(disable)
	for (level = 0; level < PID_LEVELS; level++) {
		struct pid_level found = pid_at(pid, level);

		if (!found.ns)
			break;
		process->pids[level] = found;
	}
	process->pid_levels = level;
}

__noinline int process_send(void)
{
	struct task_struct *task = current_task(), *leader;
	struct thread_record *thread = thread_find(task);
	struct process_event *process;

	if (!thread)
		return 0;
	process = bpf_ringbuf_reserve(&events, sizeof(*process), 0);
	if (!process)
		return 0;
	leader = BPF_CORE_READ(task, group_leader);
	process->kind = EVENT_PROCESS;
	process->padding = 0;
	process->execution = execution_of(thread);
	process->uid = BPF_CORE_READ(task, real_cred, uid.val);
	process->cgroup_id = thread->cgroup;
	process->mount_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	process->user_ns = BPF_CORE_READ(task, real_cred, user_ns, ns.inum);
	process->owner = thread->owner;
	bpf_probe_read_kernel(process->comm, sizeof(process->comm),
			      &leader->comm);
	pids_read(process, BPF_CORE_READ(leader, thread_pid));
	bpf_ringbuf_submit(process, BPF_RB_NO_WAKEUP);
	return 1;
}

/* The current process's events have been sent, by this thread or another. */
static __always_inline void process_is_announced(struct thread_record *thread)
{
	thread->announced =
		(__u64)identity_generation << 32 | (thread->call.exec_id + 1);
}

__noinline int process_announce(void)
{
	struct task_struct *task = current_task();
	struct thread_record *thread = thread_find(task);
	const bool has_room = ring_bytes >= RING_FOR_IDENTITY;
	__u64 whole, bytes = sizeof(struct process_event) +
			     sizeof(struct path_event);
	struct execution now, *known;
	__u32 pid;

	if (!thread)
		return 0;
	now = execution_of(thread);
	pid = now.pid;
	known = bpf_map_lookup_elem(&announcements, &pid);
	if (known && known->process_start_ns == now.process_start_ns &&
	    known->exec_id == now.exec_id) {
		process_is_announced(thread);
		return 0;
	}
	/* It may now be another program, of another user, elsewhere. */
	owner_find();
	ring_look();
	if (has_room)
		bytes += sizeof(struct path_event);
	if (has_room && send_environment)
		bytes += environment_len(task, &whole);
	if (ring_pressure && !ring_share_take(bytes)) {
		COUNT(process_lost);
		return 0;
	}
	/* Sent in any case: filters by container ask for it. */
	cgroup_send();
	if (has_room)
		exe_send();
	if (has_room && send_environment)
		environment_send();
	if (!process_send()) {
		COUNT(process_lost);
		return 0;
	}
	bpf_map_update_elem(&announcements, &pid, &now, BPF_ANY);
	process_is_announced(thread);
	return 0;
}

/*
 * Stores who calls in the record. Announces the process if that has not been
 * done yet, or if the agent has forgotten processes since. Then the map
 * announcements tells whether this was one of them.
 */
static __always_inline void process_identify(struct task_struct *task,
					     struct thread_record *thread)
{
	struct call_event *call = &thread->call;

	call->pid = TASK(task, tgid);
	call->tid = TASK(task, pid);
	call->process_start_ns = TASK_VIA(task, group_leader, start_boottime);
	call->exec_id = TASK(task, self_exec_id);
	call->ipc_ns = TASK_VIA(task, nsproxy, ipc_ns, ns.inum);
	if (thread->announced !=
	    ((__u64)identity_generation << 32 | (call->exec_id + 1)))
		process_announce();
}

#endif
