//! Kinds of `security.istio.io`: who must show what, and who may do what.

use std::collections::BTreeMap;

use crate::Str;
use crate::decode::macros::{message, oneof, proto_enum};
use crate::duration::Duration;
use crate::labels::TypeSelector;

message! {
    /// A resource that a policy is attached to.
    pub struct PolicyTargetReference {
        /// API group; empty: core (TY-006).
        group: Option<Str> = "group";
        /// Kind (TY-007).
        kind: Str = "kind" required;
        /// Name (TY-008).
        name: Str = "name" required;
        /// Namespace; must be that of the policy (TY-009).
        namespace: Option<Str> = "namespace";
    }
}

message! {
    /// Whether workloads ask for mutual TLS.
    pub struct PeerAuthentication {
        /// Workloads; unset: all of the namespace (PA-001).
        selector: Option<TypeSelector> = "selector";
        /// For all ports (PA-007).
        mtls: Option<MutualTls> = "mtls";
        /// By port of the workload (PA-008).
        port_level_mtls: BTreeMap<u32, MutualTls> = "portLevelMtls";
    }
}

message! {
    /// Mutual TLS.
    pub struct MutualTls {
        /// Whether (PA-006).
        mode: MutualTlsMode = "mode";
    }
}

proto_enum! {
    /// Whether mutual TLS is asked for.
    pub enum MutualTlsMode {
        /// As the level above; PERMISSIVE at the top (PA-002).
        Unset = "UNSET";
        /// No (PA-003).
        Disable = "DISABLE";
        /// Accepted, not asked for (PA-004).
        Permissive = "PERMISSIVE";
        /// Yes (PA-005).
        Strict = "STRICT";
    }
}

message! {
    /// Which tokens of end users are accepted.
    pub struct RequestAuthentication {
        /// Workloads; unset: all of the namespace (RA-001).
        selector: Option<TypeSelector> = "selector";
        /// Old form of `targetRefs` (RA-002).
        target_ref: Option<PolicyTargetReference> = "targetRef";
        /// Resources it is attached to (RA-003).
        target_refs: Vec<PolicyTargetReference> = "targetRefs";
        /// Issuers; a token must satisfy its own (RA-004).
        jwt_rules: Vec<JwtRule> = "jwtRules";
    }
}

message! {
    /// An issuer of tokens.
    pub struct JwtRule {
        /// Issuer (RA-005).
        issuer: Option<Str> = "issuer";
        /// Accepted audiences (RA-006).
        audiences: Vec<Str> = "audiences";
        /// Where its keys are (RA-007).
        jwks_uri: Option<Str> = "jwksUri";
        /// Its keys (RA-008).
        jwks: Option<Str> = "jwks";
        /// Headers with the token (RA-009).
        from_headers: Vec<JwtHeader> = "fromHeaders";
        /// Query parameters with the token (RA-010).
        from_params: Vec<Str> = "fromParams";
        /// Header for the payload (RA-011).
        output_payload_to_header: Option<Str> = "outputPayloadToHeader";
        /// Cookies with the token (RA-012).
        from_cookies: Vec<Str> = "fromCookies";
        /// Whether the token goes on to the workload (RA-013).
        forward_original_token: bool = "forwardOriginalToken";
        /// Headers for claims (RA-014).
        output_claim_to_headers: Vec<ClaimToHeader> = "outputClaimToHeaders";
        /// For fetching keys; default 5s (RA-015).
        timeout: Option<Duration> = "timeout";
        /// Claims that are lists with blanks (RA-016).
        space_delimited_claims: Vec<Str> = "spaceDelimitedClaims";
        /// Whether a token must be there (RA-021).
        presence: JwtPresence = "presence";
    }
}

proto_enum! {
    /// Whether a token must be there.
    pub enum JwtPresence {
        /// It may be missing.
        Optional = "OPTIONAL";
        /// It must be there.
        Required = "REQUIRED";
    }
}

message! {
    /// A header with a token.
    pub struct JwtHeader {
        /// Name (RA-017).
        name: Str = "name" required;
        /// What stands before the token (RA-018).
        prefix: Option<Str> = "prefix";
    }
}

message! {
    /// A header for a claim.
    pub struct ClaimToHeader {
        /// Header (RA-019).
        header: Str = "header" required;
        /// Claim (RA-020).
        claim: Str = "claim" required;
    }
}

message! {
    /// Who may do what at workloads.
    pub struct AuthorizationPolicy {
        /// Workloads; unset: all of the namespace (AP-001).
        selector: Option<TypeSelector> = "selector";
        /// Old form of `targetRefs` (AP-002).
        target_ref: Option<PolicyTargetReference> = "targetRef";
        /// Resources it is attached to (AP-003).
        target_refs: Vec<PolicyTargetReference> = "targetRefs";
        /// Any of these; none at all matches nothing (AP-004).
        rules: Vec<Rule> = "rules";
        /// What a match means (AP-009).
        action: AuthorizationAction = "action";
        /// Who decides, for CUSTOM.
        action_detail: Option<ActionDetail> = oneof;
    }
}

oneof! {
    /// Details of an action.
    pub enum ActionDetail {
        /// Who decides (AP-011).
        Provider(AuthorizationProvider) = "provider";
    }
}

message! {
    /// A provider of the mesh's settings.
    pub struct AuthorizationProvider {
        /// Name (AP-010).
        name: Option<Str> = "name";
    }
}

proto_enum! {
    /// What a match means.
    pub enum AuthorizationAction {
        /// Allowed (AP-005).
        Allow = "ALLOW";
        /// Denied (AP-006).
        Deny = "DENY";
        /// Noted (AP-007).
        Audit = "AUDIT";
        /// Another decides (AP-008).
        Custom = "CUSTOM";
    }
}

message! {
    /// From, to and when; all must hold.
    pub struct Rule {
        /// Any of these (AP-013).
        from: Vec<RuleFrom> = "from";
        /// Any of these (AP-015).
        to: Vec<RuleTo> = "to";
        /// All of these (AP-016).
        when: Vec<Condition> = "when";
    }
}

message! {
    /// A source.
    pub struct RuleFrom {
        /// Source (AP-012).
        source: Option<Source> = "source";
    }
}

message! {
    /// An operation.
    pub struct RuleTo {
        /// Operation (AP-014).
        operation: Option<Operation> = "operation";
    }
}

message! {
    /// Where a request comes from; all fields must hold.
    pub struct Source {
        /// Peer identities (AP-017).
        principals: Vec<Str> = "principals";
        /// None of these (AP-018).
        not_principals: Vec<Str> = "notPrincipals";
        /// Issuer/subject of the token (AP-019).
        request_principals: Vec<Str> = "requestPrincipals";
        /// None of these (AP-020).
        not_request_principals: Vec<Str> = "notRequestPrincipals";
        /// Peer namespaces (AP-021).
        namespaces: Vec<Str> = "namespaces";
        /// None of these (AP-022).
        not_namespaces: Vec<Str> = "notNamespaces";
        /// Peer service accounts (AP-023).
        service_accounts: Vec<Str> = "serviceAccounts";
        /// None of these (AP-024).
        not_service_accounts: Vec<Str> = "notServiceAccounts";
        /// Peer addresses (AP-025).
        ip_blocks: Vec<Str> = "ipBlocks";
        /// None of these (AP-026).
        not_ip_blocks: Vec<Str> = "notIpBlocks";
        /// Client addresses behind proxies (AP-027).
        remote_ip_blocks: Vec<Str> = "remoteIpBlocks";
        /// None of these (AP-028).
        not_remote_ip_blocks: Vec<Str> = "notRemoteIpBlocks";
        /// Peer trust domains (AP-029).
        trust_domains: Vec<Str> = "trustDomains";
        /// None of these (AP-030).
        not_trust_domains: Vec<Str> = "notTrustDomains";
    }
}

message! {
    /// What is asked for; all fields must hold.
    pub struct Operation {
        /// Authorities (AP-031).
        hosts: Vec<Str> = "hosts";
        /// None of these (AP-032).
        not_hosts: Vec<Str> = "notHosts";
        /// Ports of the workload (AP-033).
        ports: Vec<Str> = "ports";
        /// None of these (AP-034).
        not_ports: Vec<Str> = "notPorts";
        /// Methods (AP-035).
        methods: Vec<Str> = "methods";
        /// None of these (AP-036).
        not_methods: Vec<Str> = "notMethods";
        /// Paths (AP-037).
        paths: Vec<Str> = "paths";
        /// None of these (AP-038).
        not_paths: Vec<Str> = "notPaths";
    }
}

message! {
    /// A condition on an attribute.
    pub struct Condition {
        /// Attribute (AP-039).
        key: Str = "key" required;
        /// One of these (AP-040).
        values: Vec<Str> = "values";
        /// None of these (AP-041).
        not_values: Vec<Str> = "notValues";
    }
}
