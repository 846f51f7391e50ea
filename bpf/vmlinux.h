/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's types, with only the fields that the programs read. Offsets come
 * from the running kernel's BTF (CO-RE). A field that a kernel does not have
 * makes the load fail, so the tests load every program on every kernel. For
 * differences between kernels see compat.bpf.h.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u8 u8;
typedef __u16 u16;
typedef __s32 s32;
typedef __u32 u32;
typedef __s64 s64;
typedef __u64 u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 umode_t;
typedef _Bool bool;

enum { false = 0, true = 1 };

#define NULL ((void *)0)

/* include/uapi/linux/bpf.h */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
};

enum {
	BPF_F_NO_PREALLOC = 1 << 0,
};

enum {
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1 << 0,
};

enum {
	BPF_RB_NO_WAKEUP = 1 << 0,
	BPF_RB_FORCE_WAKEUP = 1 << 1,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_CONS_POS = 2,
	BPF_RB_PROD_POS = 3,
};

enum bpf_func_id {
	BPF_FUNC_task_storage_get = 156,
	BPF_FUNC_get_current_task_btf = 158,
	BPF_FUNC_task_pt_regs = 175,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), \
			     apply_to = record)

#if defined(__TARGET_ARCH_x86)

/* arch/x86/include/asm/ptrace.h */
struct pt_regs {
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long bp;
	unsigned long bx;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long sp;
};

/* arch/x86/include/asm/thread_info.h */
struct thread_info {
	u32 status;
};

#elif defined(__TARGET_ARCH_arm64)

/* arch/arm64/include/uapi/asm/ptrace.h */
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};

/* arch/arm64/include/asm/ptrace.h */
struct pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 pstate;
	s32 syscallno;
};

/* arch/arm64/include/asm/thread_info.h */
struct thread_info {
	unsigned long flags;
};

#endif

/* include/linux/llist.h */
struct llist_node {
	struct llist_node *next;
};

/* include/linux/time64.h */
struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

/* include/linux/ns_common.h */
struct ns_common {
	unsigned int inum;
};

/* include/linux/ipc_namespace.h */
struct ipc_namespace {
	struct ns_common ns;
};

/* fs/mount.h */
struct mnt_namespace {
	struct ns_common ns;
};

/* include/linux/nsproxy.h */
struct nsproxy {
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
};

/* include/linux/pid_namespace.h, pid.h */
struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

/* include/linux/fs.h, dcache.h, path.h */
struct list_head {
	struct list_head *next, *prev;
};

struct super_block {
	unsigned long s_magic;
	void *s_fs_info;
};

struct inode {
	umode_t i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	struct list_head i_sb_list;
};

struct qstr {
	u32 len;
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
};

/* include/linux/mount.h, fs/mount.h */
struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_flags;
};

/* include/linux/fdtable.h */
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

/* include/uapi/linux/mqueue.h */
struct mq_attr {
	long mq_flags;
	long mq_maxmsg;
	long mq_msgsize;
	long mq_curmsgs;
};

/* ipc/mqueue.c */
struct mqueue_inode_info {
	struct inode vfs_inode;
	struct mq_attr attr;
};

/* include/linux/msg.h */
struct msg_msg {
	long m_type;
	unsigned long m_ts;
};

/* include/linux/cred.h, uidgid_types.h, user_namespace.h */
typedef struct {
	unsigned int val;
} kuid_t;

struct user_namespace {
	struct user_namespace *parent;
	kuid_t owner;
	struct ns_common ns;
};

struct cred {
	kuid_t uid;
	struct user_namespace *user_ns;
};

/* fs/kernfs/kernfs-internal.h */
struct kernfs_iattrs {
	kuid_t ia_uid;
};

/* include/linux/kernfs.h, cgroup-defs.h */
struct kernfs_node {
	struct kernfs_node *parent;
	const char *name;
	u64 id;
	struct kernfs_iattrs *iattr;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

/* include/linux/cgroup_subsys.h; the values come from the running kernel. */
enum cgroup_subsys_id {
	cpu_cgrp_id,
	memory_cgrp_id,
	devices_cgrp_id,
	pids_cgrp_id,
};

struct css_set {
	struct cgroup_subsys_state *subsys[2];
	struct cgroup *dfl_cgrp;
};

/* include/linux/mm_types.h */
struct mm_struct {
	struct file *exe_file;
	unsigned long env_start;
	unsigned long env_end;
};

/* include/linux/sched/signal.h, signal_types.h */
typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
};

struct sigaction {
	void *sa_handler;
	unsigned long sa_flags;
};

struct k_sigaction {
	struct sigaction sa;
};

/* include/linux/task_io_accounting.h */
struct task_io_accounting {
	u64 syscr;
};

/* include/linux/sched.h */
struct seccomp {
	int mode;
};

/* arch/x86/include/asm/processor.h, arch/arm64/include/asm/processor.h */
#if defined(__TARGET_ARCH_x86)
struct desc_struct {
	u16 limit0;
};

struct thread_struct {
	struct desc_struct tls_array[3];
	unsigned long fsbase;
};
#elif defined(__TARGET_ARCH_arm64)
struct thread_struct {
	struct {
		unsigned long tp_value;
	} uw;
};
#endif

struct task_struct {
	struct thread_struct thread;
	struct thread_info thread_info;
	unsigned long nvcsw;
	struct task_io_accounting ioac;
	unsigned int __state;
	unsigned int ptrace;
	struct seccomp seccomp;
	void *stack;
	struct mm_struct *mm;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct pid *thread_pid;
	u64 start_boottime;
	struct cred *real_cred;
	char comm[16];
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	u32 self_exec_id;
	struct css_set *cgroups;
};

/* include/linux/bpf.h, kernel/bpf/task_iter.c */
struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

/* include/uapi/linux/bpf.h */
struct bpf_raw_tracepoint_args {
	u64 args[0];
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#endif
