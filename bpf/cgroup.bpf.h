/* SPDX-License-Identifier: GPL-2.0-only */
/* Finds the cgroup that identifies a container. */
#ifndef MQSPAN_CGROUP_BPF_H
#define MQSPAN_CGROUP_BPF_H

/* The cgroup of one controller, which need not have its own hierarchy. */
static __always_inline struct cgroup *controller_cgroup(struct css_set *cgroups,
							__u32 controller)
{
	struct cgroup_subsys_state *state = NULL;

	bpf_probe_read_kernel(&state, sizeof(state),
			      (void *)cgroups +
				      bpf_core_field_offset(cgroups->subsys) +
				      controller * sizeof(state));
	return BPF_CORE_READ(state, cgroup);
}

/* Is the cgroup in a v1 hierarchy, and not its root? */
static __always_inline bool is_of_v1(struct cgroup *cgroup,
				     struct cgroup *unified)
{
	return BPF_CORE_READ(cgroup, root) != BPF_CORE_READ(unified, root) &&
	       kernfs_parent_of(BPF_CORE_READ(cgroup, kn));
}

#define TRY_CONTROLLER(name)                                                   \
	do {                                                                   \
		if (bpf_core_enum_value_exists(enum cgroup_subsys_id, name)) { \
			struct cgroup *cgroup_ = controller_cgroup(            \
				cgroups,                                       \
				bpf_core_enum_value(enum cgroup_subsys_id,     \
						    name));                    \
			if (is_of_v1(cgroup_, unified))                        \
				return cgroup_;                                \
		}                                                              \
	} while (0)

/*
 * The cgroup that a container runtime made: that of the first v1 controller
 * that has one (v1 and hybrid hosts), else that of v2. On hosts with v1
 * controllers two containers can share a v2 cgroup.
 */
static __always_inline struct cgroup *runtime_cgroup(struct task_struct *task)
{
	struct css_set *cgroups = BPF_CORE_READ(task, cgroups);
	struct cgroup *unified = BPF_CORE_READ(cgroups, dfl_cgrp);

	TRY_CONTROLLER(memory_cgrp_id);
	TRY_CONTROLLER(pids_cgrp_id);
	TRY_CONTROLLER(cpu_cgrp_id);
	TRY_CONTROLLER(devices_cgrp_id);
	return unified;
}

static __always_inline struct kernfs_node *cgroup_node(struct task_struct *task)
{
	return BPF_CORE_READ(runtime_cgroup(task), kn);
}

/*
 * The key by which the agent and these programs refer to a cgroup.
 * kernfs_node.id counts from 1 in each hierarchy, so the same number can mean
 * several cgroups. Its upper half is a generation that changes every 2^31 nodes
 * (fs/kernfs/dir.c).
 */
static __always_inline __u64 cgroup_key(struct cgroup *cgroup)
{
	__u64 hierarchy = (__u32)BPF_CORE_READ(cgroup, root, hierarchy_id);

	return BPF_CORE_READ(cgroup, kn, id) ^ hierarchy << 48;
}

#endif
