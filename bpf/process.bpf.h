/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who calls. A thread's first call, and its first after execve(), sends what
 * the kernel knows of the process: one that lives for milliseconds is gone
 * before anybody could look into /proc.
 */
#ifndef MQSPAN_PROCESS_BPF_H
#define MQSPAN_PROCESS_BPF_H

/* See filter.bpf.h for why it is not static. */
__noinline int process_announce(void)
{
	struct task_struct *task = current_task(), *leader;
	struct thread_record *thread = thread_find(task);
	struct process_event *process;
	struct kernfs_node *node;

	if (!thread)
		return 0;
	process = bpf_ringbuf_reserve(&events, sizeof(*process), 0);
	if (!process) {
		COUNT(process_lost);
		return 0;
	}
	leader = BPF_CORE_READ(task, group_leader);

	__builtin_memset(process, 0, sizeof(*process));
	process->kind = EVENT_PROCESS;
	process->pid = thread->call.pid;
	process->process_start_ns = thread->call.process_start_ns;
	process->exec_id = thread->call.exec_id;
	process->uid = BPF_CORE_READ(task, real_cred, uid.val);
	bpf_probe_read_kernel_str(process->comm, sizeof(process->comm),
				  BPF_CORE_READ(leader, comm));
	bpf_probe_read_kernel_str(process->exe_name, sizeof(process->exe_name),
				  BPF_CORE_READ(task, mm, exe_file,
						f_path.dentry, d_name.name));
	node = cgroup_node(task);
	process->cgroup_id = BPF_CORE_READ(node, id);
	bpf_probe_read_kernel_str(process->cgroup, sizeof(process->cgroup),
				  BPF_CORE_READ(node, name));
	bpf_probe_read_kernel_str(process->cgroup_parent,
				  sizeof(process->cgroup_parent),
				  BPF_CORE_READ(kernfs_parent_of(node), name));
	bpf_ringbuf_submit(process, BPF_RB_NO_WAKEUP);
	thread->announced = thread->call.exec_id + 1;
	return 0;
}

/* Who calls, into the record; announced where that has not been done yet. */
static __always_inline void process_identify(struct task_struct *task,
					     struct thread_record *thread)
{
	struct call_event *call = &thread->call;

	call->pid = TASK(task, tgid);
	call->tid = TASK(task, pid);
	call->process_start_ns = TASK(task, group_leader, start_boottime);
	call->exec_id = TASK(task, self_exec_id);
	call->ipc_ns = TASK(task, nsproxy, ipc_ns, ns.inum);
	if (thread->announced != call->exec_id + 1)
		process_announce();
}

#endif
