use serde_json::json;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// In seconds.
const NOW: i64 = 1_773_584_531;

fn assistant() -> AssistantId {
    AssistantId(Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0000))
}

fn claims() -> Value {
    json!({ "sub": "42", "aud": assistant().0, "exp": NOW + 3600, "plan": "pro", "age": 7, "vip": true })
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().shift_remove(name);
    claims
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn sign(header: &Value, claims: &Value, secret: &str) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn token(claims: &Value) -> String {
    sign(&json!({ "alg": "HS256", "typ": "JWT" }), claims, SECRET)
}

fn check(token: &str) -> Result<Identity, InvalidIdentity> {
    verify(token, assistant(), &[SECRET.into()], Micros(NOW * 1_000_000))
}

fn error(claims: &Value) -> InvalidIdentity {
    check(&token(claims)).unwrap_err()
}

#[test]
fn a_valid_token_names_a_visitor() {
    let identity = check(&token(&claims())).unwrap();

    assert_eq!(identity.subject, "42");
    assert_eq!(Value::from(identity.variables), json!({ "plan": "pro", "age": 7, "vip": true }));
    assert_eq!(identity.expires_at, Micros((NOW + 3600) * 1_000_000));
}

#[test]
fn only_hs256_is_accepted() {
    for algorithm in ["none", "None", "HS384", "HS512", "RS256", "ES256", "hs256", ""] {
        let token = sign(&json!({ "alg": algorithm }), &claims(), SECRET);
        assert_eq!(check(&token), Err(InvalidIdentity::Algorithm), "{algorithm}");
    }
    let unsigned = format!("{}.{}.", encode(&json!({ "alg": "none" })), encode(&claims()));
    assert_eq!(check(&unsigned), Err(InvalidIdentity::Algorithm));
    let empty = format!("{}.{}.", encode(&json!({ "alg": "HS256" })), encode(&claims()));
    assert_eq!(check(&empty), Err(InvalidIdentity::Signature));
    let critical = sign(&json!({ "alg": "HS256", "crit": ["b64"] }), &claims(), SECRET);
    assert_eq!(check(&critical), Err(InvalidIdentity::Malformed));
}

#[test]
fn one_of_the_secrets_has_to_sign() {
    let now = Micros(NOW * 1_000_000);
    let other = "another secret of 32 bytes, or so";
    let token = token(&claims());
    let with = |secrets: &[&str]| {
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| (*secret).into()).collect();
        verify(&token, assistant(), &secrets, now).map(|identity| identity.subject)
    };

    assert_eq!(with(&[other, SECRET]), Ok("42".to_owned()));
    assert_eq!(with(&[other]), Err(InvalidIdentity::Signature));
    assert_eq!(with(&[]), Err(InvalidIdentity::NoSecret));
    let changed = token.replacen(&encode(&claims()), &encode(&self::with("sub", "43")), 1);
    assert_eq!(check(&changed), Err(InvalidIdentity::Signature));
}

#[test]
fn other_texts_are_refused() {
    for text in ["a", "a.b", "a.b.c", "..", "....", "e30.e30.e30", "a.b.c.d"] {
        assert_eq!(check(text), Err(InvalidIdentity::Malformed), "{text}");
    }
    assert_eq!(check(""), Err(InvalidIdentity::Missing));
    assert_eq!(check(&"a".repeat(4097)), Err(InvalidIdentity::TooLong));
    assert_eq!(check(&format!("{}=", token(&claims()))), Err(InvalidIdentity::Malformed));
    assert_eq!(error(&json!([])), InvalidIdentity::Malformed);
}

#[test]
fn a_token_is_for_this_assistant() {
    let id = assistant().to_string();
    for audience in [json!(id), json!(["other", id]), json!([assistant().0])] {
        assert!(check(&token(&with("aud", audience.clone()))).is_ok(), "{audience}");
    }
    let other = Uuid::from_u128(1);
    let simple = assistant().0.simple().to_string();
    for audience in [json!(other), json!([]), json!([[id]]), json!(5), json!(simple), json!(null)] {
        assert_eq!(error(&with("aud", audience.clone())), InvalidIdentity::Audience, "{audience}");
    }
    assert_eq!(error(&without("aud")), InvalidIdentity::Audience);
}

#[test]
fn a_token_has_a_time() {
    let day = 86_400;
    for (name, seconds) in [("exp", -59), ("exp", day), ("exp", day + 60), ("nbf", 60), ("iat", 60)] {
        assert!(check(&token(&with(name, NOW + seconds))).is_ok(), "{name} {seconds}");
    }
    assert!(check(&token(&with("exp", json!(1_773_584_531.75)))).is_ok());
    assert_eq!(error(&with("exp", NOW - 60)), InvalidIdentity::Expired);
    assert_eq!(error(&with("exp", NOW + day + 61)), InvalidIdentity::ExpiryTooFar);
    assert_eq!(error(&with("nbf", NOW + 61)), InvalidIdentity::NotYet);
    assert_eq!(error(&with("iat", NOW + 61)), InvalidIdentity::NotYet);
    assert_eq!(error(&without("exp")), InvalidIdentity::NoExpiry);
    for expiry in [json!("1773588131"), json!(null), json!(1e300), json!(i64::MAX), json!(u64::MAX)] {
        assert_eq!(error(&with("exp", expiry.clone())), InvalidIdentity::Time("exp"), "{expiry}");
    }
    assert_eq!(error(&with("nbf", "now")), InvalidIdentity::Time("nbf"));
}

#[test]
fn a_subject_is_a_text() {
    assert!(check(&token(&with("sub", "x".repeat(255)))).is_ok());
    for subject in [json!(42), json!(""), json!(" "), json!("a\0"), json!("x".repeat(256)), json!(null)] {
        assert_eq!(error(&with("sub", subject.clone())), InvalidIdentity::Subject, "{subject}");
    }
    assert_eq!(error(&without("sub")), InvalidIdentity::Subject);
}

#[test]
fn other_claims_are_variables() {
    let registered = json!({ "iss": ["x"], "jti": null, "iat": NOW, "nbf": NOW });
    let mut all = claims();
    all.as_object_mut().unwrap().extend(registered.as_object().unwrap().clone());
    assert_eq!(check(&token(&all)).unwrap().variables.len(), 3);

    for value in [json!(null), json!([]), json!({}), json!("a\0")] {
        assert_eq!(
            error(&with("roles", value.clone())),
            InvalidIdentity::Claim("roles".to_owned()),
            "{value}"
        );
    }
    assert_eq!(error(&with("a b", "x")), InvalidIdentity::Claim("a b".to_owned()));
    assert_eq!(error(&with(&"n".repeat(65), "x")), InvalidIdentity::Claim("n".repeat(64)));
    let mut many = claims();
    for number in 0..29 {
        many[format!("claim_{number}")] = number.into();
    }
    assert!(check(&token(&many)).is_ok());
    many["one_more"] = true.into();
    assert_eq!(error(&many), InvalidIdentity::TooManyClaims);
}

#[test]
fn a_generated_secret_is_one() {
    let secret = secret_from_random([7; 32]);

    assert!(secret.expose_secret().starts_with("idsec_"));
    assert!(is_secret(secret.expose_secret()));
    assert!(is_secret(SECRET) && !is_secret(&SECRET[1..]) && !is_secret(&"x".repeat(513)));
    assert!(!is_secret(&format!("{SECRET} ")) && !is_secret(&format!("{SECRET}é")));
}
