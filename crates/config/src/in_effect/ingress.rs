//! Kubernetes Ingress and IngressClass.

use super::{Row, not_yet, works};

pub(super) const INGRESS: &[Row] = &[
    works(
        "spec.ingressClassName",
        "",
        "of an IngressClass of `istio.io/ingress-controller`; before it, the annotation `kubernetes.io/ingress.class`",
        &[
            call!("ingress", "the class by annotation"),
            call!("ingress", "another controller's class"),
            "crates/config/src/ingress.rs::classes_and_modes_decide_which_ingresses_count",
        ],
    ),
    works(
        "spec.rules[].host",
        "",
        "several Ingresses of one host add up, the oldest first",
        &[
            call!("ingress", "below a wildcard host"),
            call!("ingress", "a rule without a host"),
            call!("ingress", "the older one goes first on equal paths"),
        ],
    ),
    works(
        "spec.rules[].http.paths[].path",
        "",
        "longer ones first, of equal length exact ones",
        &[
            call!("ingress", "the root goes last wherever it is written"),
            call!("ingress", "exact before prefix"),
        ],
    ),
    works(
        "spec.rules[].http.paths[].pathType=Exact",
        "",
        "",
        &[call!("ingress", "an exact path"), call!("ingress", "below an exact path")],
    ),
    works(
        "spec.rules[].http.paths[].pathType=Prefix",
        "",
        "segment by segment",
        &[
            call!("ingress", "a segment below the prefix"),
            call!("ingress", "a longer last segment is another one"),
        ],
    ),
    works(
        "spec.rules[].http.paths[].pathType=ImplementationSpecific",
        "",
        "as Istio: exact, or with `/*` or `.*` at its end a prefix",
        &[call!("ingress", "no sign at the end is exact"), call!("ingress", "a star is a prefix")],
    ),
    works(
        "spec.rules[].http.paths[].backend.service",
        "",
        "of a Service or port that is not there: by number 503, by name no route",
        &[call!("ingress", "a port by name"), call!("ingress", "a Service that is not there")],
    ),
    not_yet("spec.rules[].http.paths[].backend.resource", "", "as in Istio: the path is left out"),
    not_yet("spec.defaultBackend", "", "as in Istio: gets nothing; `validate` says so"),
    not_yet("spec.tls", "", "port 443 is not opened: TLS comes with identity; `validate` says so"),
    not_yet(
        "(status)",
        "",
        "addresses are written by Kubernetes' adapter, which comes later; files are never written",
    ),
];

pub(super) const INGRESS_CLASS: &[Row] = &[works(
    "spec.controller",
    "",
    "`istio.io/ingress-controller`; the annotation `ingressclass.kubernetes.io/is-default-class` is for Ingresses that name no class",
    &[
        call!("ingress", "another controller's class"),
        "crates/config/src/ingress.rs::classes_and_modes_decide_which_ingresses_count",
    ],
)];
