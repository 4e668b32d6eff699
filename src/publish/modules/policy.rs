//! Which modules a machine may need before it has its image: what finds a wired network card and drives it.

/// Whose machines an initramfs is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Any: nobody knows the card of the next PC.
    All,
    /// Raspberry Pis only, which load it by TFTP in small blocks: a tenth of the modules.
    Pi,
}

/// All drivers below these folders.
const FOLDERS: [&str; 16] = [
    "drivers/net/ethernet/",
    "drivers/net/mdio/",
    "drivers/net/pcs/",
    "drivers/net/phy/",
    "drivers/net/usb/",
    // Boards: host bridges, and what their USB and Ethernet stand on. Few of these exist on PCs.
    "drivers/clk/bcm/",
    "drivers/pci/controller/",
    "drivers/phy/broadcom/",
    "drivers/pmdomain/bcm/",
    "drivers/reset/",
    "drivers/soc/bcm/",
    "drivers/usb/chipidea/",
    "drivers/usb/dwc2/",
    "drivers/usb/dwc3/",
    "drivers/usb/phy/",
    "drivers/virtio/",
];

/// Single modules elsewhere, by the name of their file.
const NAMES: [&str; 10] = [
    "hv_netvsc",
    "hv_vmbus",
    "net_failover",
    "of_mdio",
    "pci-hyperv",
    "rp1",
    "rp1-pci",
    "virtio_net",
    "vmxnet3",
    "xen-netfront",
];

/// Vendors' own drivers, which DKMS and packages put beside `kernel/`. The folder may hold graphics drivers of 60 MB, so
/// that only names are taken.
const VENDORS: [&str; 17] = [
    "atlantic",
    "bnxt_en",
    "e1000e",
    "i40e",
    "iavf",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "mlx5_core",
    "r8101",
    "r8125",
    "r8126",
    "r8127",
    "r8152",
    "r8168",
    "tg3",
];

/// USB host controllers: `drivers/usb/host/` also holds adapters of the PCMCIA age.
const USB_HOSTS: [&str; 4] = ["ehci", "ohci", "uhci", "xhci"];

/// Wireless and telephone modems among the USB drivers: nothing boots over them.
const USB_MODEMS: [&str; 10] = [
    "cdc-phonet",
    "cdc_mbim",
    "hso",
    "huawei_cdc_ncm",
    "ipheth",
    "kalmia",
    "lg-vl600",
    "qmi_wwan",
    "rndis_wlan",
    "sierra_net",
];

/// Devices that only a running system uses.
const VIRTIO_OTHERS: [&str; 4] = ["virtio_balloon", "virtio_input", "virtio_mem", "virtio_rtc"];

/// Of a Raspberry Pi's chips: clocks and power domains that the cards below stand on, where they are modules at all.
const PI_FOLDERS: [&str; 4] = [
    "drivers/clk/bcm/",
    "drivers/pmdomain/bcm/",
    "drivers/soc/bcm/",
    "drivers/usb/dwc2/",
];

/// Cards, their PHYs, and what they are reached by; the virtual machine that stands in for a Pi in tests.
const PI_NAMES: [&str; 33] = [
    // Pi 4: PHY BCM54213PE; genet asks for its MDIO bus by a soft dependency.
    "bcm7xxx",
    "broadcom",
    "genet",
    "mdio-bcm-unimac",
    // Pi 3B and 2B; Pi 3B+.
    "dwc_otg",
    "lan78xx",
    "microchip",
    "phy-generic",
    "smsc",
    "smsc95xx",
    // Pi 5: the card is in the RP1, which is behind PCIe.
    "clk-rp1",
    "irq-bcm2712-mip",
    "macb",
    "pcie-brcmstb",
    "pinctrl-rp1",
    "reset-brcmstb",
    "reset-brcmstb-rescal",
    "rp1",
    "rp1-pci",
    "rp1_pci",
    // All: the firmware's services.
    "bcm2835-mailbox",
    "gpio-raspberrypi-exp",
    "raspberrypi",
    "reset-raspberrypi",
    "reset-simple",
    // QEMU's raspi3b and virt; USB adapters of the plainest kind.
    "cdc_ether",
    "net_failover",
    "virtio",
    "virtio_mmio",
    "virtio_net",
    "virtio_pci",
    "virtio_pci_modern_dev",
    "virtio_ring",
];

/// PHY drivers to be there before the card comes, which depmod does not know of. A running system loads them while the card's
/// driver waits (`request_module` runs modprobe); in an initramfs there is none, and the card would go on with the generic
/// driver, without what its PHY needs.
const PI_PHYS: [(&str, &[&str]); 4] = [
    ("genet", &["bcm7xxx", "broadcom"]),
    ("lan78xx", &["microchip"]),
    ("macb", &["broadcom"]),
    ("smsc95xx", &["smsc"]),
];

/// What to load before the module of this name, if it is there, beside what depmod says.
pub(super) fn loads_before(policy: Policy, name: &str) -> &'static [&'static str] {
    let found = PI_PHYS.iter().find(|(card, _)| *card == name);
    match (policy, found) {
        (Policy::Pi, Some((_, phys))) => phys,
        _ => &[],
    }
}

/// Drivers of wired cards outside of the folders of such.
const CARDS: [&str; 8] = [
    "genet",
    "hv_netvsc",
    "lan78xx",
    "macb",
    "smsc95xx",
    "virtio_net",
    "vmxnet3",
    "xen-netfront",
];

/// Whether the module at this path drives a wired network card.
#[must_use]
pub fn is_card(path: &str) -> bool {
    let stem = stem(path);
    let Some(inside) = path.strip_prefix("kernel/") else {
        return VENDORS.contains(&stem);
    };
    let folder = ["drivers/net/ethernet/", "drivers/net/usb/"];
    let in_folder = folder.iter().any(|folder| inside.starts_with(folder));
    (in_folder && !USB_MODEMS.contains(&stem)) || CARDS.contains(&stem)
}

/// Whether the initramfs has this module, not counting what others need.
pub(super) fn is_wanted(policy: Policy, path: &str) -> bool {
    match policy {
        Policy::All => is_wanted_by_any(path),
        Policy::Pi => path.strip_prefix("kernel/").is_some_and(|inside| {
            PI_FOLDERS.iter().any(|folder| inside.starts_with(folder))
                || PI_NAMES.contains(&stem(path))
        }),
    }
}

fn is_wanted_by_any(path: &str) -> bool {
    let stem = stem(path);
    let Some(inside) = path.strip_prefix("kernel/") else {
        return VENDORS.contains(&stem);
    };
    if USB_MODEMS.contains(&stem) || VIRTIO_OTHERS.contains(&stem) {
        return false;
    }
    let usb_host = inside.starts_with("drivers/usb/host/")
        && USB_HOSTS.iter().any(|prefix| stem.starts_with(prefix));
    usb_host || FOLDERS.iter().any(|folder| inside.starts_with(folder)) || NAMES.contains(&stem)
}

fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file)
}
