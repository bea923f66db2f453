//! Every metric: its name, type, labels and meaning. `docs/metrics.md` contains the same table.

use prometheus::proto::MetricType;

/// One metric family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name: prefix, what it is, unit, `_total` for counters.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// Its labels. Their values are names of Kubernetes objects or words of bounded lists, never what clients send.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family {
            name: $name,
            kind: MetricType::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// Every family, in the order of the documentation.
        pub const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    REQUESTS = COUNTER "penstock_requests_total" ["ingress_namespace", "ingress", "code"]
        "Requests answered, by the Ingress that matched (empty: none) and status code; unregistered codes count as 4xx, 5xx and so on.";
    REQUEST_DURATION = HISTOGRAM "penstock_request_duration_seconds" ["ingress_namespace", "ingress"]
        "From the first byte of the request to the last of the response.";
    REQUEST_BYTES = COUNTER "penstock_request_bytes_total" ["ingress_namespace", "ingress"]
        "Bytes of request content received from clients.";
    RESPONSE_BYTES = COUNTER "penstock_response_bytes_total" ["ingress_namespace", "ingress"]
        "Bytes of response content sent to clients.";
    METHODS = COUNTER "penstock_requests_by_method_total" ["method"]
        "Requests answered, by method; methods outside RFC 9110 and RFC 5789 count as other.";
    REQUEST_ERRORS = COUNTER "penstock_request_errors_total" ["class"]
        "Requests that ended with an error, by its class: a kind of problem, or how the connection broke.";
    PROBLEMS = COUNTER "penstock_problem_responses_total" ["kind"]
        "Error responses made by Penstock itself, by kind of problem.";
    CONNECTIONS_ACTIVE = GAUGE "penstock_connections_active" ["listener"]
        "Open client connections.";
    CONNECTIONS_ACCEPTED = COUNTER "penstock_connections_accepted_total" ["listener"]
        "Client connections accepted.";
    CONNECTIONS_REFUSED = COUNTER "penstock_connections_refused_total" ["reason", "by"]
        "Connections refused, by the kernel before they were accepted or by userspace after; requests that are answered 403 are not among them.";
    PROXY_PROTOCOL_ERRORS = COUNTER "penstock_proxy_protocol_errors_total" ["reason"]
        "Connections from trusted sources that were closed for want of a PROXY protocol header.";
    TLS_HANDSHAKES = COUNTER "penstock_tls_handshakes_total" ["version"]
        "TLS handshakes completed.";
    TLS_HANDSHAKE_ERRORS = COUNTER "penstock_tls_handshake_errors_total" ["reason"]
        "TLS handshakes that failed.";
    UPSTREAM_ERRORS = COUNTER "penstock_upstream_errors_total" ["kind"]
        "Attempts on a backend that failed.";
    UPSTREAM_CONNECTS = COUNTER "penstock_upstream_connects_total" []
        "Connections to endpoints that were opened.";
    UPSTREAM_CONNECT_ERRORS = COUNTER "penstock_upstream_connect_errors_total" []
        "Connections to endpoints that could not be opened.";
    UPSTREAM_REUSES = COUNTER "penstock_upstream_connection_reuses_total" []
        "Requests sent on a connection to an endpoint that was open already.";
    UPSTREAM_IDLE_CLOSED = COUNTER "penstock_upstream_idle_connections_closed_total" []
        "Idle connections to endpoints that were closed: broken, expired, or more than the pool keeps.";
    UPSTREAM_EJECTIONS = COUNTER "penstock_upstream_ejections_total" []
        "Times an endpoint was set aside after consecutive failures.";
    UPSTREAM_RETRIES = COUNTER "penstock_upstream_retries_total" []
        "Further attempts for a request whose attempt on an endpoint failed.";
    UPSTREAM_RETRIES_REFUSED = COUNTER "penstock_upstream_retries_refused_total" []
        "Further attempts that were not made because too many requests failed already.";
    UPSTREAM_IDLE = GAUGE "penstock_upstream_connections_idle" []
        "Connections to endpoints that wait for a request.";
    UPSTREAM_ACTIVE = GAUGE "penstock_upstream_requests_active" []
        "Requests in flight to endpoints, including those that wait for a connection.";
    LIMIT_HITS = COUNTER "penstock_limit_hits_total" ["limit"]
        "Times a limit was hit, by its name in the configuration.";
    KERNEL_ACCELERATION = GAUGE "penstock_kernel_acceleration" ["name", "state"]
        "1 for the state that a kernel acceleration is in, else 0.";
    RELAY_BYTES = COUNTER "penstock_relay_bytes_total" ["rung"]
        "Bytes of bodies of known length, tunnels and passed-through connections, by the rung that moved them.";
    RELAY_TRANSFERS = COUNTER "penstock_relay_transfers_total" ["rung", "kind"]
        "Bodies of known length, tunnels and passed-through connections, by the rung that they took.";
    RELAY_FALLBACKS = COUNTER "penstock_relay_fallbacks_total" ["rung", "reason"]
        "Times a proven acceleration could not be used, so that the next rung served.";
    RELAY_FLUSHES = COUNTER "penstock_relay_flushes_total" []
        "Times userspace waited for what the sockmap had taken to be with the receiver's TCP.";
    RELAY_CREDITS = COUNTER "penstock_relay_credits_exhausted_total" []
        "Times the sockmap held as much for a slow receiver as it may, and userspace took over.";
    PASSTHROUGH_CONNECTIONS = COUNTER "penstock_passthrough_connections_total" ["result"]
        "TLS connections passed through undecrypted that have ended, by how.";
    PASSTHROUGH_BYTES = COUNTER "penstock_passthrough_bytes_total" ["direction"]
        "Bytes of such connections: `in` from clients, `out` to clients.";
    PASSTHROUGH_SECONDS = COUNTER "penstock_passthrough_connection_seconds_total" []
        "How long such connections lasted, added up.";
    ACCESS_DECISIONS = COUNTER "penstock_access_decisions_total" ["verdict"]
        "Requests to routes with an access policy, by what was decided.";
    SIGN_INS = COUNTER "penstock_sign_ins_total" ["result"]
        "Sign-ins, by what became of them.";
    SIGN_IN_FAILURES = COUNTER "penstock_sign_in_failures_total" ["reason"]
        "Sign-ins that failed, by one word of the code's own.";
    SESSION_REFRESHES = COUNTER "penstock_session_refreshes_total" ["outcome"]
        "Times the identity of a session was to be renewed at the provider, by what came of it.";
    SIGN_OUTS = COUNTER "penstock_sign_outs_total" ["kind"]
        "Sessions that were ended by their owner or by the provider.";
    PROVIDER_REQUESTS = COUNTER "penstock_provider_requests_total" ["issuer", "outcome"]
        "Requests to identity providers, by what came of them. Issuers beyond 256 are counted as `other`.";
    REVOCATIONS = GAUGE "penstock_revocations" []
        "Sessions, subjects and sessions of providers that are revoked, of the 8192 that are kept.";
    WORKERS = GAUGE "penstock_workers" []
        "Worker threads.";
    READY = GAUGE "penstock_ready" []
        "1 after the first complete synchronisation of the configuration, else 0.";
    GENERATION = GAUGE "penstock_table_generation" []
        "Number of the routing table that is served.";
    PUBLISHED = GAUGE "penstock_table_publish_timestamp_seconds" []
        "When that table was published, in seconds since 1970.";
    RULES = GAUGE "penstock_table_rules" []
        "Rules in that table.";
    OBJECT_REPORTS = GAUGE "penstock_object_reports" ["kind", "severity", "reason"]
        "Findings about Kubernetes objects.";
    SOURCE_PROBLEMS = GAUGE "penstock_source_problems" []
        "Manifests or watches that cannot be read now; what was read last is served.";
    SOURCE_CONNECTED = GAUGE "penstock_source_connected" ["kind"]
        "1 while every watch of the kind at the API server stands, else 0; what was read last is served.";
    SOURCE_RELISTS = COUNTER "penstock_source_relists_total" ["kind"]
        "Lists after the first, because changes were missed or the API server no longer had them.";
    SOURCE_ERRORS = COUNTER "penstock_source_watch_errors_total" ["kind"]
        "Lists and watches that failed; each is tried again.";
    SOURCE_LAST_EVENT = GAUGE "penstock_source_last_event_timestamp_seconds" ["kind"]
        "When the API server last said anything about the kind, in seconds since 1970.";
    SOURCE_SECRETS = GAUGE "penstock_source_secrets_demanded" []
        "Secrets that Ingresses and the default certificate name, and that are read.";
    SOURCE_SECRET_READS = COUNTER "penstock_source_secret_reads_total" ["result"]
        "Requests for Secrets, by how they ended.";
    CERTIFICATE_EXPIRY = GAUGE "penstock_certificate_expiry_timestamp_seconds" ["secret_namespace", "secret"]
        "When the certificate in a Secret that is served expires, in seconds since 1970; empty names are the self-signed default.";
    LEADER = GAUGE "penstock_leader" []
        "1 while this replica holds the Lease and writes status and Events, else 0.";
    LEADER_CHANGES = COUNTER "penstock_leader_transitions_total" []
        "Times this replica began or ceased to hold the Lease.";
    LEASE_ERRORS = COUNTER "penstock_lease_errors_total" []
        "Attempts to read, acquire or renew the Lease that failed.";
    STATUS_WRITES = COUNTER "penstock_status_writes_total" ["kind", "outcome"]
        "Writes to the status of objects, by kind of the object and outcome.";
    STATUS_WAITING = GAUGE "penstock_status_writes_waiting" []
        "Objects whose status is to be looked at or written.";
    EVENTS = COUNTER "penstock_events_total" ["outcome"]
        "Events about objects, by outcome: dropped ones found too many waiting.";
    EVENTS_WAITING = GAUGE "penstock_events_waiting" []
        "Events that wait to be written.";
    API_FORBIDDEN = COUNTER "penstock_api_forbidden_total" ["verb", "resource"]
        "Writes that the API server forbids, by what the ServiceAccount may lack.";
    ACCESS_LOG_DROPPED = COUNTER "penstock_access_log_dropped_total" []
        "Lines of the access log dropped because the reader of stdout was too slow or gone.";
    PROGRAM_LOG_DROPPED = COUNTER "penstock_program_log_dropped_total" []
        "Lines of the program log dropped because the reader of stderr was too slow or gone.";
    BUILD_INFO = GAUGE "penstock_build_info" ["version"]
        "Always 1; the version is a label.";
    PROCESS_CPU = COUNTER "process_cpu_seconds_total" []
        "Processor time used, by user and system.";
    PROCESS_RESIDENT = GAUGE "process_resident_memory_bytes" []
        "Resident memory.";
    PROCESS_VIRTUAL = GAUGE "process_virtual_memory_bytes" []
        "Virtual memory.";
    PROCESS_OPEN_FDS = GAUGE "process_open_fds" []
        "Open file descriptors.";
    PROCESS_MAX_FDS = GAUGE "process_max_fds" []
        "Largest number of open file descriptors.";
    PROCESS_THREADS = GAUGE "process_threads" []
        "Threads.";
    PROCESS_START = GAUGE "process_start_time_seconds" []
        "When the process started, in seconds since 1970.";
}
