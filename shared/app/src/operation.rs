//! Every operation that there is: its name, its kind, and the right that it needs.

use portcullis_domain::Right;

macro_rules! operations {
    ($($(#[$doc:meta])* $operation:ident: $name:literal, $kind:ident, $right:ident;)*) => {
        /// An operation of the door.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Operation {
            $($(#[$doc])* $operation,)*
        }

        impl Operation {
    /// May it grant a lease, or prolong one?
    pub(crate) fn grants(self) -> bool {
        matches!(self, Self::Initiate | Self::Extend | Self::Approve)
    }

            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$operation,)*];

            /// Its name in logs and policies.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$operation => $name,)*
                }
            }

            /// Whether it changes anything.
            pub fn kind(self) -> OperationKind {
                match self {
                    $(Self::$operation => OperationKind::$kind,)*
                }
            }

            /// The right that it needs.
            pub fn right(self) -> Right {
                match self {
                    $(Self::$operation => Right::$right,)*
                }
            }
        }
    };
}

/// Whether an operation changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// It may change something.
    Command,
    /// It changes nothing.
    Query,
}

operations! {
    /// Asks for access.
    Initiate: "access.request", Command, Request;
    /// Asks for a later end of a lease.
    Extend: "access.extend", Command, Extend;
    /// Approves a request.
    Approve: "access.approve", Command, Approve;
    /// Rejects a request.
    Reject: "access.reject", Command, Approve;
    /// Takes back a request of one's own.
    Withdraw: "access.withdraw", Command, Request;
    /// Ends a lease.
    Close: "access.close", Command, Close;
    /// Guards a machine.
    Enable: "policy.enable", Command, Configure;
    /// Changes the policy of a machine.
    Edit: "policy.edit", Command, Configure;
    /// Guards a machine no longer.
    Disable: "policy.disable", Command, Configure;
    /// Keeps a policy that would lapse.
    Confirm: "policy.confirm", Command, Configure;
    /// Takes over the policy of another product.
    Adopt: "policy.adopt", Command, Configure;
    /// Makes a token.
    IssueToken: "token.issue", Command, Administer;
    /// Takes a token away.
    RevokeToken: "token.revoke", Command, Administer;
    /// Gives a role.
    GrantRole: "role.grant", Command, Administer;
    /// Takes a role away.
    RevokeRole: "role.revoke", Command, Administer;
    /// Changes the policies of the installation.
    ApplyPolicies: "policies.apply", Command, Administer;
    /// Goes back to policies that the installation had.
    RollBackPolicies: "policies.rollback", Command, Administer;
    /// Asks for evidence to be put into the archive.
    OrderExport: "export.request", Command, Export;
    /// Reviews a request without making it.
    Explain: "access.explain", Query, Read;
    /// Shows the foreign denies that leases would meet.
    Foresee: "access.foresee", Query, Read;
    /// Lists requests.
    Requests: "request.list", Query, Read;
    /// Shows a request.
    ShowRequest: "request.show", Query, Read;
    /// Lists grants.
    Grants: "grant.list", Query, Read;
    /// Shows a grant.
    ShowGrant: "grant.show", Query, Read;
    /// Lists machines with their state.
    Machines: "machine.list", Query, Read;
    /// Shows a machine with its state.
    ShowMachine: "machine.show", Query, Read;
    /// Lists the names of machines.
    Names: "machine.names", Query, Read;
    /// Shows the entries of a machine.
    Activity: "machine.activity", Query, Read;
    /// Evaluates a packet.
    Check: "machine.check", Query, Read;
    /// Shows the rules that a policy would write.
    Plan: "policy.plan", Query, Read;
    /// Lists the policies of another product.
    Adoptables: "policy.adoptable", Query, Read;
    /// Lists events.
    Happened: "event.list", Query, Read;
    /// Recomputes the journal.
    Verify: "journal.verify", Query, Read;
    /// Takes evidence away.
    Export: "journal.export", Query, Export;
    /// Checks the installation.
    Doctor: "installation.doctor", Query, Read;
    /// Names the caller.
    Whoami: "caller.show", Query, Read;
    /// Lists who has which role.
    Roles: "role.list", Query, Read;
    /// Shows the policies of the installation.
    Policies: "policies.show", Query, Read;
    /// Lists the changes of the policies of the installation.
    PolicyVersions: "policies.history", Query, Read;
    /// Lists the people who have a token.
    Tokens: "token.list", Query, Read;
}
