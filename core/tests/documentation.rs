//! The outbound methods of `Connection` have the signatures and the documentation of those of
//! `CorkPolicy`.

const POLICY: [&str; 2] = [include_str!("../src/policy.rs"), include_str!("../src/policy/transmit.rs")];
const CONNECTION: &str = include_str!("../src/connection/outbound.rs");
/// Methods of the policy that `Connection` calls itself, does not expose, or has in another form.
const NOT_FORWARDED: [&str; 6] = ["new", "failure", "handle_handshake_done", "handle_failure", "get_ref", "get_mut"];

#[derive(Debug, PartialEq, Eq)]
struct Method {
    name: String,
    doc: String,
    signature: String,
}

/// The public methods of a source file that rustfmt has formatted.
fn methods(source: &str) -> Vec<Method> {
    let (mut found, mut doc) = (Vec::new(), String::new());
    let mut lines = source.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("///") {
            doc += text;
            doc += "\n";
        } else if let Some(rest) = line.strip_prefix("pub fn ") {
            let mut signature = line.to_owned();
            while !signature.ends_with('{') {
                signature += lines.next().expect("the rest of a signature");
            }
            // The names of arguments inside a method may differ.
            let signature = signature.replace("_now: ", "now: ").replace("mut send: ", "send: ");
            let name = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push(Method { name, doc: std::mem::take(&mut doc), signature });
        } else if !line.starts_with("#[") {
            doc.clear();
        }
    }
    found
}

#[test]
fn connection_documents_each_method_of_the_policy_as_the_policy_does() {
    let mut policy: Vec<_> = POLICY.into_iter().flat_map(methods).collect();
    policy.retain(|method| !NOT_FORWARDED.contains(&method.name.as_str()));
    let connection = methods(CONNECTION);
    assert!(policy.len() > 20, "{policy:?}");
    for method in &policy {
        assert!(!method.doc.is_empty(), "{}", method.name);
        let forwarded = connection.iter().find(|forwarded| forwarded.name == method.name);
        assert_eq!(forwarded, Some(method), "the method of Connection, and that of CorkPolicy");
    }
    for method in &connection {
        assert!(
            policy.iter().any(|original| original.name == method.name),
            "{} is no method of the policy",
            method.name
        );
    }
}
