//! Names of users.

use std::collections::HashMap;

/// Names by user id, of passwd(5).
#[derive(Debug, Clone, Default)]
pub(super) struct Users(HashMap<u32, String>);

impl Users {
    /// Parses lines of `name:password:uid:...`. The first name of a user is the
    /// one that getpwuid(3) finds.
    pub(super) fn parse(passwd: &str) -> Self {
        let mut names = HashMap::new();
        for line in passwd.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(uid)) = (fields.next(), fields.nth(1)) else {
                continue;
            };
            if let Ok(uid) = uid.parse()
                && is_name(name)
            {
                names.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
        Self(names)
    }

    pub(super) fn name(&self, uid: u32) -> Option<&str> {
        self.0.get(&uid).map(String::as_str)
    }
}

/// Digits would look like an id. `+` and `-` begin lines of NIS.
fn is_name(name: &str) -> bool {
    name.bytes().any(|byte| !byte.is_ascii_digit()) && !name.starts_with(['+', '-', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_nothing() {
        let users = Users::parse(
            "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n#no:x:1:1::/:\nbad:x:y\n\
             1002:x:1002:1002::/:\n:x:3:3::/:\n+nis:x:4:4::/:\ndb:x:70:70::/:/bin/false\nshort:x\n",
        );
        let names = [0, 1, 2, 3, 4, 70, 1002].map(|uid| users.name(uid));
        let [root, db] = [Some("root"), Some("db")];
        assert_eq!(names, [root, None, None, None, None, db, None]);
    }
}
