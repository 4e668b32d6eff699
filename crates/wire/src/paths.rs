//! HTTP paths. Those of an image are immutable by digest, so any HTTP cache can stand in front of a manager.

use crate::client::Client;
use crate::files::{FilesId, Worker};
use crate::image::ImageId;

/// Where `/init` POSTs its reports.
pub const REPORT: &str = "/report";

/// Longest name of a boot file.
const MAX_NAME_BYTES: usize = 100;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `/images/<id>/image.sqfs`
    Image(ImageId),
    /// `/images/<id>/chunks`
    Chunks(ImageId),
    /// `/images/<id>/profile`: what boots of it read, a hint; not immutable. Workers POST their recordings there.
    Profile(ImageId),
    /// `/images/<id>/boot/<file>`
    Boot(ImageId, String),
    /// `/ipxe/<client>`: the boot script of one machine; not immutable.
    Script(Client),
    /// `/efi/<client>/boot.efi`: what one machine's UEFI firmware runs; not immutable. EDK2 goes by the ending `.efi`
    /// where a server gives no media type.
    Efi(Client),
    /// `/workers/<worker>/<digest>`: the files of one machine; to be had only as long as they are these.
    Files(Worker, FilesId),
    /// `/report`
    Report,
}

impl Resource {
    /// Reads the path of a request target, without the query. `None` for anything the other side would not write.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        if path == REPORT {
            return Some(Self::Report);
        }
        if let Some(client) = path.strip_prefix("/ipxe/") {
            return client.parse().ok().map(Self::Script);
        }
        if let Some(rest) = path.strip_prefix("/efi/") {
            let client = rest.strip_suffix("/boot.efi")?;
            return client.parse().ok().map(Self::Efi);
        }
        if let Some(rest) = path.strip_prefix("/workers/") {
            let (worker, id) = rest.split_once('/')?;
            return Some(Self::Files(worker.parse().ok()?, id.parse().ok()?));
        }
        let (id, rest) = path.strip_prefix("/images/")?.split_once('/')?;
        let id = id.parse().ok()?;
        match rest {
            "image.sqfs" => Some(Self::Image(id)),
            "chunks" => Some(Self::Chunks(id)),
            "profile" => Some(Self::Profile(id)),
            rest => {
                let name = rest.strip_prefix("boot/")?;
                is_boot_name(name).then(|| Self::Boot(id, name.to_owned()))
            }
        }
    }

    /// The path this resource is asked for by.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Image(id) => format!("/images/{id}/image.sqfs"),
            Self::Chunks(id) => format!("/images/{id}/chunks"),
            Self::Profile(id) => format!("/images/{id}/profile"),
            Self::Boot(id, name) => format!("/images/{id}/boot/{name}"),
            Self::Script(client) => format!("/ipxe/{client}"),
            Self::Efi(client) => format!("/efi/{client}/boot.efi"),
            Self::Files(worker, id) => format!("/workers/{worker}/{id}"),
            Self::Report => REPORT.to_owned(),
        }
    }
}

/// A boot file's name is one plain path component: it also becomes a file name in the store.
#[must_use]
pub fn is_boot_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mac::Mac;

    #[test]
    fn what_is_written_is_read_back() {
        let id = ImageId([0x5a; 32]);
        for resource in [
            Resource::Image(id),
            Resource::Chunks(id),
            Resource::Profile(id),
            Resource::Boot(id, "vmlinuz-0123".to_owned()),
            Resource::Script(Mac([2; 6]).into()),
            Resource::Efi(Mac([2; 6]).into()),
            Resource::Files(
                "gpu~10.0.0.1:8067~02-02-02-02-02-02~~x86_64~"
                    .parse()
                    .expect("a worker"),
                FilesId([9; 32]),
            ),
            Resource::Report,
        ] {
            assert_eq!(Resource::parse(&resource.path()), Some(resource.clone()));
        }
    }

    #[test]
    fn nothing_else_is_a_resource() {
        let id = ImageId([0x5a; 32]);
        let upper = id.to_string().to_uppercase();
        for path in [
            "",
            "/",
            "/images",
            "/images/",
            "/images/x/chunks",
            "/report/",
            "/ipxe/",
            "/ipxe/..",
            "/workers/",
            "/workers/gpu~10.0.0.1:8067~~~~",
            "/workers/gpu~10.0.0.1:8067~~~~/",
            &format!("/workers/../{id}"),
            &format!("/workers/gpu~10.0.0.1:8067~~~~/{id}/"),
            "//report",
            &format!("/images/{id}"),
            &format!("/images/{id}/"),
            &format!("/images/{id}/boot/"),
            &format!("/images/{id}/boot/../image.sqfs"),
            &format!("/images/{id}/boot/a/b"),
            &format!("/images/{id}/boot/.x"),
            &format!("/images/{id}/boot/a%2e"),
            &format!("/images/{upper}/chunks"),
            &format!("/images/{id}/chunks/"),
            &format!("/images/{id}/profile/"),
            &format!("/images/{id}/boot/{}", "a".repeat(101)),
        ] {
            assert_eq!(Resource::parse(path), None, "{path}");
        }
    }
}
