/* SPDX-License-Identifier: GPL-2.0-only */
/* Differences between kernels. Features are tested, not versions. */
#ifndef MQSPAN_COMPAT_BPF_H
#define MQSPAN_COMPAT_BPF_H

/*
 * bpf_get_current_task_btf() came with 5.11 (3ca1032ab7ab). The verifier knows
 * the type that it returns, so reading a field is a plain load. Before that,
 * each field is a bpf_probe_read_kernel().
 */
#define HAVE_TASK_BTF                                \
	bpf_core_enum_value_exists(enum bpf_func_id, \
				   BPF_FUNC_get_current_task_btf)

/*
 * The current task, for TASK() and thread_find(). Programs call this once and
 * pass the result on, because the compiler does not merge two calls.
 */
static __always_inline struct task_struct *current_task(void)
{
	if (HAVE_TASK_BTF)
		return bpf_get_current_task_btf();
	return (struct task_struct *)bpf_get_current_task();
}

/*
 * bpf_rdonly_cast() came with 6.2 (a35b9af4ec2c); not every kernel lets kprobe
 * programs call it. With it, reading a field at any kernel address is a plain
 * load; without it, a bpf_probe_read_kernel(). Both read 0 from a bad address.
 */
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

#define CAST(type, address) \
	((type *)bpf_rdonly_cast(address, bpf_core_type_id_kernel(type)))

#define KERNEL(type, address, ...)                                             \
	({                                                                     \
		typeof(___arrow(((type *)0), __VA_ARGS__)) value_;             \
		const void *address_ = (const void *)(address);                \
		if (use_casts)                                                 \
			value_ = ___arrow(CAST(type, address_), __VA_ARGS__);  \
		else                                                           \
			value_ = BPF_CORE_READ((type *)address_, __VA_ARGS__); \
		value_;                                                        \
	})

/* A field of the current task, by a plain load if the kernel allows it. */
#define TASK(task, field)                                      \
	({                                                     \
		typeof(((struct task_struct *)0)->field) val_; \
		if (HAVE_TASK_BTF)                             \
			val_ = (task)->field;                  \
		else                                           \
			val_ = BPF_CORE_READ(task, field);     \
		val_;                                          \
	})

/*
 * The same through a chain of pointers that starts at the current task. When a
 * pointer is read through a trusted one, Linux 6.4 and later also search all of
 * the kernel's BTF for a type whose name says whether to trust the new pointer
 * (btf_nested_type_is_trusted()). In all this adds 50 ms to the start. Through
 * a cast pointer there is no such search.
 */
#define TASK_VIA(task, ...)                                                    \
	({                                                                     \
		typeof(___arrow(((struct task_struct *)0), __VA_ARGS__)) val_; \
		if (use_casts)                                                 \
			val_ = ___arrow(CAST(struct task_struct, task),        \
					__VA_ARGS__);                          \
		else if (HAVE_TASK_BTF)                                        \
			val_ = ___arrow(task, __VA_ARGS__);                    \
		else                                                           \
			val_ = BPF_CORE_READ(task, __VA_ARGS__);               \
		val_;                                                          \
	})

/* The pointer at an address. Any struct that begins with a pointer would do. */
#define KERNEL_POINTER(address) KERNEL(struct llist_node, address, next)

/*
 * The registers of a task at its entry into the kernel, task_pt_regs().
 * bpf_task_pt_regs() came with 5.15 (dd6e10fbd9fb). Before that, the address is
 * computed as in arch/{x86,arm64}/include/asm/processor.h.
 */
#define HAVE_TASK_REGISTERS \
	bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)

static __always_inline const struct pt_regs *
registers_on_stack_of(struct task_struct *task)
{
#if defined(__TARGET_ARCH_x86)
	const __u64 thread_size = 4096 << 2; /* THREAD_SIZE without KASAN */
#elif defined(__TARGET_ARCH_arm64)
	const __u64 thread_size = 16384; /* THREAD_SIZE with pages of 4 KiB */
#endif

	return (const struct pt_regs *)((__u64)BPF_CORE_READ(task, stack) +
					thread_size -
					bpf_core_type_size(struct pt_regs));
}

/* task must be a pointer that the verifier knows to be a task. */
static __always_inline const struct pt_regs *
registers_of(struct task_struct *task)
{
	if (HAVE_TASK_REGISTERS)
		return (const struct pt_regs *)bpf_task_pt_regs(task);
	return registers_on_stack_of(task);
}

static __always_inline const struct pt_regs *current_registers(void)
{
	return registers_on_stack_of(
		(struct task_struct *)bpf_get_current_task());
}

/*
 * What the thread pointer of the current thread was when the kernel last set or
 * saved it: where its variables of the storage class thread_local are. On
 * x86-64 arch_prctl(2) and clone(2) set it, on arm64 the program itself, and
 * the kernel saves it when the thread loses the CPU. 32-bit programs have it in
 * a segment descriptor, whose base is in three parts
 * (arch/x86/include/asm/desc_defs.h).
 */
static __always_inline __u64 thread_pointer_of(struct task_struct *task,
					       __u32 word)
{
#if defined(__TARGET_ARCH_x86)
	__u64 raw = 0;

	if (word == 8)
		return BPF_CORE_READ(task, thread.fsbase);
	bpf_probe_read_kernel(&raw, sizeof(raw),
			      (const void *)task +
				      bpf_core_field_offset(struct task_struct,
							    thread.tls_array));
	return (raw >> 16 & 0xffffff) | (raw >> 56 << 24);
#elif defined(__TARGET_ARCH_arm64)
	return BPF_CORE_READ(task, thread.uw.tp_value);
#endif
}

/* Linux 5.14 renamed task_struct.state to __state (2f064a59a11f). */
struct task_struct___state {
	long state;
} __attribute__((preserve_access_index));

#define TASK_STOPPED_OR_TRACED 0xc /* include/linux/sched.h */

static __always_inline __u64 task_state(struct task_struct *task)
{
	struct task_struct___state *old = (void *)task;

	if (bpf_core_field_exists(old->state))
		return BPF_CORE_READ(old, state);
	return BPF_CORE_READ(task, __state);
}

static __always_inline bool task_is_asleep(struct task_struct *task)
{
	return task_state(task) != 0;
}

static __always_inline bool task_is_stopped(struct task_struct *task)
{
	return task_state(task) & TASK_STOPPED_OR_TRACED;
}

/*
 * Linux 6.15 renamed kernfs_node.parent to __parent (633488947ef6), read under
 * RCU.
 */
struct kernfs_node___rcu_parent {
	struct kernfs_node *__parent;
} __attribute__((preserve_access_index));

static __always_inline struct kernfs_node *
kernfs_parent_of(struct kernfs_node *node)
{
	struct kernfs_node___rcu_parent *renamed = (void *)node;

	if (bpf_core_field_exists(renamed->__parent))
		return BPF_CORE_READ(renamed, __parent);
	return BPF_CORE_READ(node, parent);
}

#endif
