/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The owner of a call: the tenant, which only the host's root can make, and the
 * user within it.
 *
 * Any user can make user namespaces with a range of user ids, PID namespaces in
 * them, and cgroups in a subtree that was delegated to that user. Root in a
 * container can take any user id and can often make cgroups below its own. So a
 * container's cgroup counts only if it belongs to the host's root, and the
 * outermost one counts; and a user namespace stands for the user who made it.
 */
#ifndef MQSPAN_OWNER_BPF_H
#define MQSPAN_OWNER_BPF_H

/*
 * Values of owner.user: for the share of a tenant as a whole, and for the
 * common share of its users who have little. The first is no valid user id; the
 * second is hardly ever one.
 */
#define WHOLE_TENANT ((__u32)-1)
#define WITH_LITTLE ((__u32)-2)
/* Runtimes give the cgroup of a container or pod a name this long or longer. */
#define CONTAINER_NAME_LEN 64
#define CGROUP_LEVELS 20
#define USER_NS_LEVELS 33 /* create_user_ns() in kernel/user_namespace.c */

/*
 * Returns first if value is zero, else second, without a branch. In a loop each
 * branch would add a path through all iterations that follow, and the verifier
 * checks every path.
 */
static __always_inline __u64 zero_selects(__u64 value, __u64 first,
					  __u64 second)
{
	__u64 is_other = -value;

	barrier_var(is_other);
	is_other = (value | is_other) >> 63;
	barrier_var(is_other);
	return (first & (is_other - 1)) | (second & -is_other);
}

/*
 * kernfs_node.id of the outermost cgroup that a container runtime or the
 * kubelet made, or 0.
 */
static __always_inline __u64 container_cgroup(struct task_struct *task)
{
	struct kernfs_node *node = cgroup_node(task);
	char name[CONTAINER_NAME_LEN + 1];
	__u64 found = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < CGROUP_LEVELS; i++) {
		struct kernfs_node *parent = kernfs_parent_of(node);
		__u64 differs;

		if (!parent)
			break;
		differs = bpf_probe_read_kernel_str(name, sizeof(name),
						    BPF_CORE_READ(node, name)) ^
			  sizeof(name);
		/* Without attributes of its own a node belongs to root. */
		differs |= BPF_CORE_READ(node, iattr, ia_uid.val);
		found = zero_selects(differs, BPF_CORE_READ(node, id), found);
		node = parent;
	}
	return found;
}

/* ns or its ancestor that is a child of the initial user namespace, or NULL. */
static __always_inline struct user_namespace *
outermost_user_ns(struct user_namespace *ns)
{
	struct user_namespace *parent = BPF_CORE_READ(ns, parent);

	if (!parent)
		return NULL;
#pragma clang loop unroll(disable)
	for (int i = 0; i < USER_NS_LEVELS; i++) {
		struct user_namespace *above = BPF_CORE_READ(parent, parent);

		if (!above)
			break;
		ns = parent;
		parent = above;
	}
	return ns;
}

/* A thread's id at one level of PID namespaces; pid 0 beyond the last level. */
static __always_inline struct pid_level pid_at(struct pid *pid, __u32 level)
{
	struct pid_level found = {};
	struct upid *number;

	if (level > BPF_CORE_READ(pid, level))
		return found;
	number = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
		 level * bpf_core_type_size(struct upid);
	found.pid = BPF_CORE_READ(number, nr);
	found.ns = BPF_CORE_READ(number, ns, ns.inum);
	return found;
}

static __always_inline struct owner owner_of(struct task_struct *task)
{
	struct owner owner = {
		.tenant = container_cgroup(task),
		.user = BPF_CORE_READ(task, real_cred, uid.val),
	};
	struct user_namespace *made =
		outermost_user_ns(BPF_CORE_READ(task, real_cred, user_ns));
	__u32 maker = BPF_CORE_READ(made, owner.val);

	if (made && maker)
		owner.user = maker;
	if (owner.tenant) {
		owner.kind = TENANT_CONTAINER;
	} else if (made && !maker) {
		owner.tenant = BPF_CORE_READ(made, ns.inum);
		owner.kind = TENANT_USER_NS;
	} else if (!made) {
		owner.tenant = pid_at(BPF_CORE_READ(task, thread_pid),
				      agent_pid_level + 1)
				       .ns;
		if (owner.tenant)
			owner.kind = TENANT_PID_NS;
	}
	return owner;
}

/*
 * Stores the owner in the record of the current thread. A function of its own
 * because it consists of loops: see filter.bpf.h.
 */
__noinline int owner_find(void)
{
	struct task_struct *task = current_task();
	struct thread_record *thread = thread_find(task);

	if (thread)
		thread->owner = owner_of(task);
	return 0;
}

#endif
