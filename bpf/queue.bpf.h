/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a descriptor of the current process to the queue behind it: file ->
 * inode -> struct mqueue_inode_info (ipc/mqueue.c). The name comes from the
 * dentry.
 */
#ifndef MQSPAN_QUEUE_BPF_H
#define MQSPAN_QUEUE_BPF_H

#define MQUEUE_MAGIC 0x19800202 /* ipc/mqueue.c */
#define S_IFMT 0170000
#define S_IFREG 0100000
#define O_NONBLOCK 04000
#define O_CREAT 0100

#define QUEUE_FLAGS (CALL_QUEUE | CALL_NAME)

static __always_inline const void *queue_of_inode(__u64 inode)
{
	return (const void *)(inode -
			      bpf_core_field_offset(struct mqueue_inode_info,
						    vfs_inode));
}

/* Completes the record's name after len bytes were read behind its slash. */
static __always_inline void queue_name_set(struct call_event *call, long len)
{
	if (len <= 1)
		return;
	call->name[0] = '/';
	call->name_len = len; /* plus the slash, minus the zero byte */
	call->flags |= CALL_NAME;
}

/* The open file behind a descriptor of the current process, or NULL. */
static __always_inline struct file *file_of(struct task_struct *task,
					    __s32 mqdes)
{
	if ((__u32)mqdes >= TASK_VIA(task, files, fdt, max_fds))
		return NULL;
	return (struct file *)KERNEL_POINTER(TASK_VIA(task, files, fdt, fd) +
					     (__u32)mqdes);
}

/*
 * Fills in name, limits and namespace from what is behind a descriptor. If it
 * is the file of the thread's last call, three reads are enough: the number of
 * an inode in use never changes, and a mqueue file cannot be renamed.
 */
static __always_inline void queue_resolve(struct thread_record *thread,
					  struct file *file)
{
	struct call_event *call = &thread->call;
	struct super_block *sb;
	struct ipc_namespace *ipc_ns;
	const void *queue;
	struct inode *inode;
	unsigned long ino;

	if (!file)
		goto unknown;
	inode = KERNEL(struct file, file, f_inode);
	ino = KERNEL(struct inode, inode, i_ino);
	if (thread->file == (__u64)file && thread->inode == (__u64)inode &&
	    thread->inode_number == ino) {
		call->flags |= QUEUE_FLAGS;
		call->ipc_ns = thread->queue_ipc_ns;
		goto known;
	}

	sb = BPF_CORE_READ(inode, i_sb);
	/* The root of a mounted mqueue has the magic but is no queue. */
	if (BPF_CORE_READ(sb, s_magic) != MQUEUE_MAGIC ||
	    (BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		goto unknown;
	queue = queue_of_inode((__u64)inode);
	ipc_ns = BPF_CORE_READ(sb, s_fs_info);
	call->ipc_ns = BPF_CORE_READ(ipc_ns, ns.inum);
	call->queue_ino = ino;
	call->max_messages =
		KERNEL(struct mqueue_inode_info, queue, attr.mq_maxmsg);
	call->max_message_size =
		KERNEL(struct mqueue_inode_info, queue, attr.mq_msgsize);
	call->flags |= CALL_QUEUE;
	queue_name_set(
		call, bpf_probe_read_kernel_str(
			      call->name + 1, QUEUE_NAME_MAX,
			      BPF_CORE_READ(file, f_path.dentry, d_name.name)));
	thread->file = 0;
	if (call->flags & CALL_NAME) {
		/* Keeps the branch: no arithmetic is allowed on file. */
		barrier_var(file);
		thread->file = (__u64)file;
	}
	thread->inode = (__u64)inode;
	thread->inode_number = ino;
	thread->queue_ipc_ns = call->ipc_ns;
	thread->queue_verdict = UNKNOWN;
	thread->queue_is_noted = 0;

known:
	call->flags |= CALL_DESCRIPTOR;
	if (KERNEL(struct file, file, f_flags) & O_NONBLOCK)
		call->flags |= CALL_NONBLOCK;
	return;

unknown:
	thread->file = 0;
	thread->inode = 0;
}

/*
 * Puts the queue of the current thread's call into the map queues. A queue
 * without a name is left out: it ends when the last descriptor is closed.
 */
__noinline int queue_note(void)
{
	struct thread_record *thread = thread_find(current_task());
	struct queue_seen seen = {};
	struct queue_key key = {};
	struct inode *inode;

	if (!thread)
		return 0;
	thread->queue_is_noted = 1;
	inode = (struct inode *)thread->inode;
	if (!inode || !BPF_CORE_READ(inode, i_nlink))
		return 0;
	key.queue = thread->inode_number;
	key.ipc_ns = thread->queue_ipc_ns;
	if (bpf_map_lookup_elem(&queues, &key))
		return 0;
	seen.inode = thread->inode;
	seen.sb = (__u64)BPF_CORE_READ(inode, i_sb);
	bpf_map_update_elem(&queues, &key, &seen, BPF_ANY);
	return 0;
}

/*
 * Reads how many messages are queued now, and whether the queue still has a
 * name. The descriptor's file still holds the inode: a close by another thread
 * takes effect only when this thread is back in user space.
 */
static __always_inline void queue_depth(struct thread_record *thread)
{
	struct call_event *call = &thread->call;

	if (!(call->flags & CALL_QUEUE) || !thread->inode)
		return;
	call->depth = KERNEL(struct mqueue_inode_info,
			     queue_of_inode(thread->inode), attr.mq_curmsgs);
	call->flags |= CALL_DEPTH;
	if (!KERNEL(struct inode, (struct inode *)thread->inode, i_nlink))
		call->flags |= CALL_UNLINKED;
	if (!thread->queue_is_noted)
		queue_note();
}

/*
 * Tells whether a queue in the map queues still exists. The arguments are its
 * key's two numbers. Never attached: the agent runs it by BPF_PROG_TEST_RUN,
 * because some hosts refuse programs of the type iter/bpf_map_elem.
 *
 * The inode may have been freed. Its memory then holds another inode, or still
 * says that this one has left the list of its superblock (evict(), fs/inode.c).
 * Nothing is written over a free inode, because mqueue's inodes have a
 * constructor.
 */
SEC("raw_tp")
int queue_is_there(struct bpf_raw_tracepoint_args *ctx)
{
	struct queue_key key = { .queue = ctx->args[0],
				 .ipc_ns = ctx->args[1] };
	const struct queue_seen *seen = bpf_map_lookup_elem(&queues, &key);
	struct inode *inode;
	__u64 next;

	if (!seen)
		return 0;
	inode = (struct inode *)seen->inode;
	next = (__u64)BPF_CORE_READ(inode, i_sb_list.next);
	return BPF_CORE_READ(inode, i_ino) == key.queue &&
	       (__u64)BPF_CORE_READ(inode, i_sb) == seen->sb &&
	       BPF_CORE_READ(inode, i_nlink) && next &&
	       next != seen->inode +
			       bpf_core_field_offset(struct inode, i_sb_list);
}

#endif
