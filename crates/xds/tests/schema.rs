//! The schema in text (`src/json/schema.txt`) is what the descriptors of the `envoy-types` in use say.
//!
//! `cargo xtask bless` writes it anew after an update of that crate.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, fmt::Write, path::Path, process::Command};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

#[test]
fn the_schema_is_that_of_the_crate_golden() {
    let bytes = std::fs::read(Path::new(&package_folder()).join("src/generated/types.bin")).unwrap();
    let set = FileDescriptorSet::decode(&*bytes).unwrap();
    let mut types = BTreeMap::new();
    for file in &set.file {
        let package = file.package();
        file.message_type.iter().for_each(|message| add_message(package, message, &mut types));
        file.enum_type.iter().for_each(|values| add_enum(package, values, &mut types));
    }
    let text: String = types.into_values().collect();
    meltemi_testkit::golden::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/json/schema.txt"), &text);
}

/// Where cargo keeps the crate's package.
fn package_folder() -> String {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "envoy-types").unwrap();
    package["manifest_path"].as_str().unwrap().trim_end_matches("Cargo.toml").to_owned()
}

fn add_message(parent: &str, message: &DescriptorProto, types: &mut BTreeMap<String, String>) {
    let name = format!("{parent}.{}", message.name());
    let mut text = format!("M {name}\n");
    for field in &message.field {
        let entry = message.nested_type.iter().find(|nested| {
            let is_entry = nested.options.as_ref().is_some_and(|options| options.map_entry());
            is_entry && field.type_name().ends_with(&format!("{name}.{}", nested.name()))
        });
        write!(text, " {} {} ", field.number(), field.name()).unwrap();
        match entry {
            Some(entry) => write!(text, "map {} {}", kind(&entry.field[0]), kind(&entry.field[1])).unwrap(),
            None if field.label() == Label::Repeated => write!(text, "rep {}", kind(field)).unwrap(),
            None => text.push_str(&kind(field)),
        }
        // proto3's `optional` is a oneof of one on the wire's side only.
        if let (Some(at), false) = (field.oneof_index, field.proto3_optional()) {
            write!(text, " of {}", message.oneof_decl[at as usize].name()).unwrap();
        }
        text.push('\n');
    }
    types.insert(name.clone(), text);
    for nested in &message.nested_type {
        if !nested.options.as_ref().is_some_and(|options| options.map_entry()) {
            add_message(&name, nested, types);
        }
    }
    message.enum_type.iter().for_each(|values| add_enum(&name, values, types));
}

fn add_enum(parent: &str, values: &EnumDescriptorProto, types: &mut BTreeMap<String, String>) {
    let name = format!("{parent}.{}", values.name());
    let mut text = format!("E {name}\n");
    for value in &values.value {
        writeln!(text, " {} {}", value.number(), value.name()).unwrap();
    }
    types.insert(name, text);
}

fn kind(field: &FieldDescriptorProto) -> String {
    let type_name = field.type_name().trim_start_matches('.');
    match field.r#type() {
        Type::Message | Type::Group => format!("message {type_name}"),
        Type::Enum => format!("enum {type_name}"),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}
