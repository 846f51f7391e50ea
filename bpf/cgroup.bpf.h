/* SPDX-License-Identifier: GPL-2.0-only */
/* The cgroup by which a container is known. */
#ifndef MQSPAN_CGROUP_BPF_H
#define MQSPAN_CGROUP_BPF_H

/* The node of one controller's cgroup, where it has a hierarchy of its own. */
static __always_inline struct kernfs_node *
controller_node(struct css_set *cgroups, __u32 controller)
{
	struct cgroup_subsys_state *state = NULL;

	bpf_probe_read_kernel(&state, sizeof(state),
			      (void *)cgroups +
				      bpf_core_field_offset(cgroups->subsys) +
				      controller * sizeof(state));
	return BPF_CORE_READ(state, cgroup, kn);
}

/*
 * The cgroup that a container runtime made: in the hierarchy of v2, or, where
 * that has the root only (v1 and hybrid), of a controller that runtimes use.
 */
static __always_inline struct kernfs_node *cgroup_node(struct task_struct *task)
{
	struct css_set *cgroups = BPF_CORE_READ(task, cgroups);
	struct kernfs_node *node = BPF_CORE_READ(cgroups, dfl_cgrp, kn);

	if (kernfs_parent_of(node))
		return node;
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return controller_node(
			cgroups, bpf_core_enum_value(enum cgroup_subsys_id,
						     memory_cgrp_id));
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		return controller_node(
			cgroups, bpf_core_enum_value(enum cgroup_subsys_id,
						     pids_cgrp_id));
	return node;
}

#endif
