//! dpkg's record of what is installed, for scanners of images and for `dpkg -l`.
//!
//! It is `var/lib/dpkg/status`: every scanner reads it, and so does dpkg, which `status.d` (the form of images that are
//! known to lack dpkg) is not true of. Descriptions are cut to their first line, which is all that lists show; lists of
//! files and checksums are left out, because what they say can be read from the image itself.

use super::{AssembleError, Root, Unpacked};
use crate::inputs::deb::stanza::stanzas;

/// Writes the record of packages sorted by name.
pub(super) fn record(root: &mut Root<'_>, packages: &[Unpacked<'_>]) -> Result<(), AssembleError> {
    let mut status = String::new();
    for unpacked in packages {
        let control = unpacked.control.text("control").unwrap_or_default();
        let stanza = stanzas(&control).next();
        status.extend(["Package: ", unpacked.package.name, "\nStatus: install ok installed\n"]);
        for (field, value) in stanza.iter().flat_map(|stanza| stanza.fields().flatten()) {
            let value = match field {
                "Package" | "Status" => continue,
                "Description" => value.lines().next().unwrap_or_default(),
                _ => value,
            };
            status.extend([field, ": ", value, "\n"]);
        }
        status.push('\n');
    }
    root.write("var/lib/dpkg/status", 0o644, 0, status.as_bytes())
}
