//! Users and groups, from the lists that base-passwd keeps for all of Debian.

use super::{AssembleError, Root};
use crate::base::TreePath;

/// `shadow`, which may read password hashes (base-passwd's group.master).
const SHADOW: u32 = 42;

/// Writes `passwd`, `group`, `shadow` and `gshadow` from base-passwd's lists, where the root has them.
///
/// No account has a password. Without the day of its last change, which Debian's own tools write, an account's
/// password does not age, and two builds on two days are alike.
pub(super) fn create(root: &mut Root<'_>) -> Result<(), AssembleError> {
    let lists = [("passwd", "shadow", "*::0:99999:7:::"), ("group", "gshadow", "*::")];
    for (public, secret, locked) in lists {
        let list = TreePath::new(&format!("usr/share/base-passwd/{public}.master"))?;
        let Some(list) = root.read(&list)? else { continue };
        let list = String::from_utf8_lossy(&list).into_owned();
        let (mut known, mut hidden) = (String::new(), String::new());
        for line in list.lines() {
            let mut fields: Vec<&str> = line.split(':').collect();
            if fields.len() < 4 {
                continue;
            }
            fields[1] = "x";
            known.push_str(&fields.join(":"));
            known.push('\n');
            hidden.extend([fields[0], ":", locked, "\n"]);
        }
        root.write(&format!("etc/{public}"), 0o644, 0, known.as_bytes())?;
        root.write(&format!("etc/{secret}"), 0o640, SHADOW, hidden.as_bytes())?;
    }
    Ok(())
}
