//! The real program on a real machine: packets, clocks, disks, files, callers.

mod api_description;
mod bots;
mod cli;
mod cli_events;
mod cli_failures;
mod cli_network;
mod cli_terminal;
mod clock;
mod commands;
mod contracts;
mod credentials;
mod descriptors;
mod durability;
mod e2e_callers;
mod e2e_host;
mod e2e_neighbours;
mod evidence_tools;
mod export_process;
mod files;
mod full_disk;
mod nftables;
mod night;
mod pipes;
mod stop;
mod strangers;
