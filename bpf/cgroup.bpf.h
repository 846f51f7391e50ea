/* SPDX-License-Identifier: GPL-2.0-only */
/* The cgroup by which a container is known. */
#ifndef MQSPAN_CGROUP_BPF_H
#define MQSPAN_CGROUP_BPF_H

/* The cgroup of one controller, which has a hierarchy of its own or not. */
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

/*
 * The cgroup that a container runtime made: of a v1 controller that runtimes
 * use (v1 and hybrid), else, or where that is the root, of v2.
 */
static __always_inline struct kernfs_node *cgroup_node(struct task_struct *task)
{
	struct css_set *cgroups = BPF_CORE_READ(task, cgroups);
	struct cgroup *unified = BPF_CORE_READ(cgroups, dfl_cgrp);
	struct cgroup *v1 = unified;
	struct kernfs_node *node;

	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		v1 = controller_cgroup(
			cgroups, bpf_core_enum_value(enum cgroup_subsys_id,
						     memory_cgrp_id));
	else if (bpf_core_enum_value_exists(enum cgroup_subsys_id,
					    pids_cgrp_id))
		v1 = controller_cgroup(
			cgroups, bpf_core_enum_value(enum cgroup_subsys_id,
						     pids_cgrp_id));
	if (BPF_CORE_READ(v1, root) != BPF_CORE_READ(unified, root)) {
		node = BPF_CORE_READ(v1, kn);
		if (kernfs_parent_of(node))
			return node;
	}
	return BPF_CORE_READ(unified, kn);
}

#endif
