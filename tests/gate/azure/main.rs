//! The simulated Azure, where the real program stands on it or where it takes long.

mod azure_above;
mod azure_accepted;
mod azure_adopt;
mod azure_balancers;
mod azure_clients;
mod azure_doctor;
mod azure_faults;
mod azure_found;
mod azure_front;
mod azure_guard;
mod azure_limits;
mod azure_oracle;
mod azure_orphans;
mod azure_pace;
mod azure_role;
mod azure_sessions;
mod azure_shared;
mod azure_stories;
mod azure_written_back;
mod delays;
mod e2e_installations;
mod silent_cloud;
mod simcloud_kept;
