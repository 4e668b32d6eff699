//! The cases, one story each; `/init` and the manager are the real ones in all of them.

mod addresses;
mod boots;
mod containers;
mod dhcp;
mod faults;
mod fleet;
mod identity;
mod k3s;
mod memory;
mod names;
mod outages;
mod pi_boots;
mod pis;
mod quick_start;
mod refusals;
mod screen;
mod selinux;
mod slurm;
mod sources;
mod streaming;
mod uefi;

use anyhow::Result;

use crate::case::Case;

/// What a case does.
pub(crate) type Story = fn(&Case) -> Result<()>;

/// Name and story; those that take minutes first, so that no lane is left with one of them at the end.
pub(crate) const ALL: &[(&str, Story)] = &[
    (
        "stream_manager_dies_at_any_time",
        streaming::manager_dies_at_any_time,
    ),
    ("any_source_boots", sources::all_boot),
    ("deb_to_first_boot", quick_start::in_an_office),
    ("pis_boot_from_dnsmasq", pis::from_dnsmasq),
    ("boots_into_ram", boots::into_ram),
    ("boots_beside_dnsmasq", boots::beside_dnsmasq),
    ("stream_sources_lie_and_die", streaming::sources_lie_and_die),
    (
        "stream_falls_back_and_gives_up",
        streaming::falls_back_and_gives_up,
    ),
    ("stream_runs_on_other_kernels", streaming::on_other_kernels),
    ("slurm_nodes_add_themselves", slurm::nodes_add_themselves),
    ("k3s_agent_starts", k3s::agent_starts),
    ("containers_run", containers::run),
    ("selinux_enforces", selinux::enforces),
    ("boots_from_e1000", boots::from_e1000),
    ("boots_through_tftp", boots::through_tftp),
    ("worker_is_itself_again", identity::itself_again),
    ("survives_without_manager", outages::after_the_boot),
    ("resumes_the_fetch", outages::during_the_fetch),
    ("fault_manager_dies_at_every_stage", faults::at_every_stage),
    ("fault_cable_is_pulled", faults::of_the_cable),
    ("fault_second_manager_takes_over", faults::second_manager),
    (
        "fault_publish_during_the_fetch",
        faults::publish_during_the_fetch,
    ),
    ("fault_deadline_passes", faults::passes),
    ("fault_clock_at_1970", faults::in_1970),
    ("fault_bad_wires", faults::bad_wires),
    (
        "fault_firmware_outlives_the_manager",
        faults::outlives_the_manager,
    ),
    ("the_screen_speaks_plainly", screen::in_plain_words),
    ("refuses_a_flipped_byte", refusals::flipped_byte),
    (
        "refuses_an_image_larger_than_ram",
        refusals::larger_than_ram,
    ),
    ("ram_holds_the_image_once", memory::as_little_as_a_script),
    ("full_refuses_beside_dnsmasq", dhcp::beside_dnsmasq),
    ("full_probes_before_offering", dhcp::probes),
    (
        "full_offers_to_five_hundred_at_once",
        dhcp::five_hundred_at_once,
    ),
    ("five_hundred_machines_boot", fleet::five_hundred),
    (
        "a_hundred_machines_boot_on_a_bad_wire",
        fleet::a_hundred_on_a_bad_wire,
    ),
    ("pcs_boot_beside_dnsmasq", fleet::pcs_beside_dnsmasq),
    ("full_serves_two_networks", dhcp::two_networks),
    ("full_serves_through_a_relay", dhcp::through_a_relay),
    ("pis_boot", pi_boots::from_ramboot),
    ("pis_boot_over_a_bad_wire", pi_boots::over_a_bad_wire),
    ("pi_3_boots_into_ram", pi_boots::a_pi_3_into_ram),
    (
        "pi_files_boot_a_virtual_board",
        pi_boots::a_virtual_board_into_ram,
    ),
    ("uefi_pxe_boots", uefi::pxe),
    ("uefi_pxe_boots_beside_dnsmasq", uefi::pxe_beside_dnsmasq),
    ("uefi_http_boots", uefi::http),
    ("uefi_http_boots_beside_dnsmasq", uefi::http_beside_dnsmasq),
    ("uefi_without_ipxe_boots", uefi::pxe_without_ipxe),
    (
        "arm64_pxe_boots_beside_dnsmasq",
        uefi::arm64_pxe_beside_dnsmasq,
    ),
    ("arm64_pxe_boots", uefi::arm64_pxe),
    ("arm64_http_boots", uefi::arm64_http),
    (
        "arm64_http_boots_beside_dnsmasq",
        uefi::arm64_http_beside_dnsmasq,
    ),
    ("ipxe_runs_autoexec", uefi::autoexec),
    ("addresses_outlive_everybody", addresses::outlive_everybody),
    ("worker_resolves_names", names::worker_resolves_names),
    ("stream_a_whole_debian", streaming::a_whole_debian),
];

/// Those that `make test` leaves to `make test-all`: minutes each, or a second boot of what another case boots.
pub(crate) const LONG: &[&str] = &[
    "addresses_outlive_everybody",
    "arm64_http_boots_beside_dnsmasq",
    "arm64_pxe_boots_beside_dnsmasq",
    "containers_run",
    "pis_boot_over_a_bad_wire",
    "selinux_enforces",
    "slurm_nodes_add_themselves",
    "stream_a_whole_debian",
    "uefi_http_boots_beside_dnsmasq",
    "worker_resolves_names",
];
