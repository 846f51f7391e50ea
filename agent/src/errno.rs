//! Names and numbers of Linux error codes.
//!
//! The numbers are those of the kernel's `include/uapi/asm-generic/errno-base.h` and `errno.h`, which x86 and Arm use
//! in all their ABIs. Where two names share a number, [`name`] gives the one that the kernel defines by its number and
//! [`number`] knows both.

/// `ERESTARTSYS` of the kernel's `include/linux/errno.h`: a call that a signal interrupted and that the kernel either
/// restarts or ends with `EINTR` in user space. A hook on the kernel's return sees 512, never 4.
pub const ERESTARTSYS: i32 = 512;

/// Number of `EINTR`, which is what user space sees instead of [`ERESTARTSYS`].
pub const EINTR: i32 = 4;

/// Every error code by number, in ascending order. 41 and 58 are not assigned.
const TABLE: &[(i32, &str)] = &[
    (1, "EPERM"),
    (2, "ENOENT"),
    (3, "ESRCH"),
    (4, "EINTR"),
    (5, "EIO"),
    (6, "ENXIO"),
    (7, "E2BIG"),
    (8, "ENOEXEC"),
    (9, "EBADF"),
    (10, "ECHILD"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (15, "ENOTBLK"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (18, "EXDEV"),
    (19, "ENODEV"),
    (20, "ENOTDIR"),
    (21, "EISDIR"),
    (22, "EINVAL"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (25, "ENOTTY"),
    (26, "ETXTBSY"),
    (27, "EFBIG"),
    (28, "ENOSPC"),
    (29, "ESPIPE"),
    (30, "EROFS"),
    (31, "EMLINK"),
    (32, "EPIPE"),
    (33, "EDOM"),
    (34, "ERANGE"),
    (35, "EDEADLK"),
    (36, "ENAMETOOLONG"),
    (37, "ENOLCK"),
    (38, "ENOSYS"),
    (39, "ENOTEMPTY"),
    (40, "ELOOP"),
    (42, "ENOMSG"),
    (43, "EIDRM"),
    (44, "ECHRNG"),
    (45, "EL2NSYNC"),
    (46, "EL3HLT"),
    (47, "EL3RST"),
    (48, "ELNRNG"),
    (49, "EUNATCH"),
    (50, "ENOCSI"),
    (51, "EL2HLT"),
    (52, "EBADE"),
    (53, "EBADR"),
    (54, "EXFULL"),
    (55, "ENOANO"),
    (56, "EBADRQC"),
    (57, "EBADSLT"),
    (59, "EBFONT"),
    (60, "ENOSTR"),
    (61, "ENODATA"),
    (62, "ETIME"),
    (63, "ENOSR"),
    (64, "ENONET"),
    (65, "ENOPKG"),
    (66, "EREMOTE"),
    (67, "ENOLINK"),
    (68, "EADV"),
    (69, "ESRMNT"),
    (70, "ECOMM"),
    (71, "EPROTO"),
    (72, "EMULTIHOP"),
    (73, "EDOTDOT"),
    (74, "EBADMSG"),
    (75, "EOVERFLOW"),
    (76, "ENOTUNIQ"),
    (77, "EBADFD"),
    (78, "EREMCHG"),
    (79, "ELIBACC"),
    (80, "ELIBBAD"),
    (81, "ELIBSCN"),
    (82, "ELIBMAX"),
    (83, "ELIBEXEC"),
    (84, "EILSEQ"),
    (85, "ERESTART"),
    (86, "ESTRPIPE"),
    (87, "EUSERS"),
    (88, "ENOTSOCK"),
    (89, "EDESTADDRREQ"),
    (90, "EMSGSIZE"),
    (91, "EPROTOTYPE"),
    (92, "ENOPROTOOPT"),
    (93, "EPROTONOSUPPORT"),
    (94, "ESOCKTNOSUPPORT"),
    (95, "EOPNOTSUPP"),
    (96, "EPFNOSUPPORT"),
    (97, "EAFNOSUPPORT"),
    (98, "EADDRINUSE"),
    (99, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (102, "ENETRESET"),
    (103, "ECONNABORTED"),
    (104, "ECONNRESET"),
    (105, "ENOBUFS"),
    (106, "EISCONN"),
    (107, "ENOTCONN"),
    (108, "ESHUTDOWN"),
    (109, "ETOOMANYREFS"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
    (114, "EALREADY"),
    (115, "EINPROGRESS"),
    (116, "ESTALE"),
    (117, "EUCLEAN"),
    (118, "ENOTNAM"),
    (119, "ENAVAIL"),
    (120, "EISNAM"),
    (121, "EREMOTEIO"),
    (122, "EDQUOT"),
    (123, "ENOMEDIUM"),
    (124, "EMEDIUMTYPE"),
    (125, "ECANCELED"),
    (126, "ENOKEY"),
    (127, "EKEYEXPIRED"),
    (128, "EKEYREVOKED"),
    (129, "EKEYREJECTED"),
    (130, "EOWNERDEAD"),
    (131, "ENOTRECOVERABLE"),
    (132, "ERFKILL"),
    (133, "EHWPOISON"),
];

/// Second names of a number, from the same header files and, for `ENOTSUP`, from the C library.
const ALIASES: &[(&str, i32)] = &[("EWOULDBLOCK", 11), ("EDEADLOCK", 35), ("ENOTSUP", 95)];

/// The symbol of a positive error number, for example `ETIMEDOUT` for 110.
///
/// The kernel's internal 512 reads `EINTR`, as user space would see it. `None` for a number that has no name.
#[must_use]
pub fn name(errno: i32) -> Option<&'static str> {
    let errno = as_seen_by_user_space(errno);
    let index = TABLE.binary_search_by_key(&errno, |row| row.0).ok()?;
    TABLE.get(index).map(|row| row.1)
}

/// The positive error number of a symbol, for example 110 for `ETIMEDOUT`; second names such as `EWOULDBLOCK` are known too.
///
/// `None` for a name that the kernel does not define. Names are upper case.
#[must_use]
pub fn number(name: &str) -> Option<i32> {
    let named = TABLE.iter().find(|row| row.1 == name).map(|row| row.0);
    named.or_else(|| ALIASES.iter().find(|row| row.0 == name).map(|row| row.1))
}

/// The number that user space gets for `errno`: `EINTR` for the kernel's internal 512, every other number as it is.
#[must_use]
pub fn as_seen_by_user_space(errno: i32) -> i32 {
    if errno == ERESTARTSYS { EINTR } else { errno }
}

/// All symbols, in the order of their numbers.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_up_to_133_but_the_two_gaps_has_a_name_that_leads_back() {
        for errno in 1..=133 {
            match name(errno) {
                Some(symbol) => assert_eq!(number(symbol), Some(errno), "{symbol}"),
                None => assert!(errno == 41 || errno == 58, "{errno}"),
            }
        }
        assert!(TABLE.is_sorted_by_key(|row| row.0));
        assert_eq!(TABLE.len(), 131);
    }

    #[test]
    fn numbers_agree_with_the_c_library() {
        for (symbol, errno) in [
            ("EINTR", libc::EINTR),
            ("EAGAIN", libc::EAGAIN),
            ("EBADF", libc::EBADF),
            ("EINVAL", libc::EINVAL),
            ("EMSGSIZE", libc::EMSGSIZE),
            ("ETIMEDOUT", libc::ETIMEDOUT),
            ("EWOULDBLOCK", libc::EWOULDBLOCK),
            ("EDEADLOCK", libc::EDEADLOCK),
            ("ENOTSUP", libc::ENOTSUP),
            ("EHWPOISON", libc::EHWPOISON),
        ] {
            assert_eq!(number(symbol), Some(errno), "{symbol}");
        }
    }

    #[test]
    fn shared_numbers_and_the_restart_code() {
        assert_eq!(name(11), Some("EAGAIN"));
        assert_eq!(name(35), Some("EDEADLK"));
        assert_eq!(name(95), Some("EOPNOTSUPP"));
        assert_eq!(name(512), Some("EINTR"));
        assert_eq!(number("ERESTARTSYS"), None);
        for unnamed in [0, -110, 134, 511, 513, i32::MIN, i32::MAX] {
            assert_eq!(name(unnamed), None, "{unnamed}");
        }
    }
}
