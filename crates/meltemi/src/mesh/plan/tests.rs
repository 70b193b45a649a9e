//! Plans of small meshes, from YAML as users write it.

use super::*;

fn planned(text: &str) -> Plan {
    let loaded = meltemi_config::load_text("mesh.yaml", text, &meltemi_config::Options::default());
    assert!(loaded.rejected.is_empty(), "{:?}", loaded.diagnostics);
    let mut seats = Seats::claim(&[]).expect("a block");
    plan(&loaded.objects, "127.0.0.1:8080".parse().expect("address"), &mut seats).expect("a plan")
}

const BOOKINFO: &str = include_str!("../../../../../samples/bookinfo/bookinfo.yaml");
const GATEWAY: &str = include_str!("../../../../../samples/bookinfo/networking/bookinfo-gateway.yaml");

#[test]
fn bookinfo_has_six_workloads_and_one_gateway() {
    let plan = planned(&format!("{BOOKINFO}---\n{GATEWAY}"));
    let names: Vec<_> = plan.workloads.iter().map(|workload| workload.name.as_str()).collect();
    assert_eq!(
        names,
        ["details-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3", "productpage-v1"]
    );
    assert!(plan.implied.is_empty());
    let gateway = &plan.gateways[0];
    assert_eq!(
        (gateway.name.as_str(), &gateway.ports),
        ("istio-ingressgateway", &BTreeMap::from([(80, 8080)]))
    );
}

#[test]
fn a_process_without_a_service_gets_one() {
    let plan = planned(
        "apiVersion: meltemi.dev/v1alpha1\nkind: Process\nmetadata: {name: db}\n\
         spec: {command: [db], replicas: 2, ports: [{name: tcp, number: 5432}]}\n",
    );
    assert!(plan.implied.contains_key(&("default".to_owned(), "db".to_owned())));
    let names: Vec<_> = plan.workloads.iter().map(|workload| workload.name.as_str()).collect();
    assert_eq!(names, ["db-0", "db-1"]);
    assert!(plan.workloads[0].tcp_egress[0].is_some());
    assert_eq!(plan.workloads[0].labels["app"], "db");
}

#[test]
fn low_ports_of_a_gateway_move_to_where_a_user_may_listen() {
    let ports = BTreeSet::from([(false, 80), (true, 443), (true, 31400)]);
    assert_eq!(gateway_ports(&ports, 9000), BTreeMap::from([(80, 9000), (443, 8443), (31400, 31400)]));
}

#[test]
fn who_stays_keeps_the_seat() {
    let process = |name: &str| {
        format!(
            "---\napiVersion: meltemi.dev/v1alpha1\nkind: Process\nmetadata: {{name: {name}}}\n\
             spec: {{command: [x], ports: [{{name: http, number: 80}}]}}\n"
        )
    };
    let mut seats = Seats::claim(&[]).expect("a block");
    let mut planned = |text: &str| {
        let loaded = meltemi_config::load_text("mesh.yaml", text, &meltemi_config::Options::default());
        plan(&loaded.objects, "127.0.0.1:8080".parse().expect("address"), &mut seats)
            .expect("a plan")
            .workloads
    };
    let before = planned(&format!("{}{}", process("a"), process("b")));
    let after = planned(&format!("{}{}", process("c"), process("b")));
    assert_eq!((before[1].address, before[1].ports[0].app), (after[1].address, after[1].ports[0].app));
    assert_ne!(before[0].address, after[0].address);
}
