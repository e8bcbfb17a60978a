use proptest::prelude::*;

use super::*;
use crate::provider::ErrorKind;

const LISTING: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>a/</Prefix>
<MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated><NextContinuationToken>t=&amp;1</NextContinuationToken>
<Contents><Key>a//b</Key><LastModified>2026-11-22T11:05:30.250Z</LastModified><ETag>"x"</ETag><Size>5</Size>
<Owner><ID>o</ID></Owner></Contents>
<Contents><Key> a/ü &lt;&#x41;&gt; </Key><LastModified>long ago</LastModified><Size>0</Size></Contents>
<CommonPrefixes><Prefix>a/c/</Prefix></CommonPrefixes></ListBucketResult>
"#;

fn entry(key: &str, bytes: u64, modified_unix_ms: Option<u64>) -> Entry {
    Entry { key: key.to_owned(), bytes, modified_unix_ms, sha256: None }
}

#[test]
fn a_page_keeps_keys_that_paths_would_refuse() {
    assert_eq!(
        page(LISTING.as_bytes()).unwrap(),
        Page {
            entries: vec![entry("a//b", 5, Some(1_795_345_530_250)), entry(" a/ü <A> ", 0, None)],
            prefixes: vec!["a/c/".to_owned()],
            next: Some("t=&1".to_owned()),
        }
    );
}

#[test]
fn the_last_page_has_no_next_one() {
    for (more, next) in [
        ("<IsTruncated>false</IsTruncated>", None),
        ("<IsTruncated>false</IsTruncated><NextContinuationToken>t</NextContinuationToken>", None),
        ("<NextContinuationToken/>", None),
        ("", None),
        ("<NextContinuationToken>t</NextContinuationToken>", Some("t".to_owned())),
    ] {
        let xml = format!("<ListBucketResult>{more}</ListBucketResult>");
        assert_eq!(page(xml.as_bytes()).unwrap().next, next, "{more}");
    }
}

#[test]
fn what_is_not_a_whole_listing_is_never_an_empty_one() {
    for body in [
        "",
        "[]",
        "<html><body>Welcome</body></html>",
        "<Error><Code>SlowDown</Code></Error>",
        "<ListAllMyBucketsResult></ListAllMyBucketsResult>",
        "<ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult></ListBucketResult><ListBucketResult></ListBucketResult>",
        "<ListBucketResult><Contents><Key>&huge;</Key><Size>1</Size></Contents></ListBucketResult>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult></ListBucketResult>",
    ] {
        assert_eq!(page(body.as_bytes()).map_err(|fault| fault.kind), Err(ErrorKind::Protocol), "{body}");
    }
    assert!(page(b"<ListBucketResult>\xff</ListBucketResult>").is_err());
    for cut in 1..LISTING.trim_end().len() {
        assert!(page(LISTING.get(..cut).unwrap_or_default().as_bytes()).is_err(), "cut at {cut}");
    }
}

#[test]
fn errors_keep_code_and_message_and_nothing_else() {
    let xml = "<?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>No &amp; no</Message>\
               <AWSAccessKeyId>AKID</AWSAccessKeyId><StringToSign>secret</StringToSign></Error>";
    let document = error_document(xml.as_bytes()).unwrap();
    let code = Some("SignatureDoesNotMatch".to_owned());
    assert_eq!(document, ErrorDocument { code, message: "No & no".to_owned() });
    assert_eq!(error_document(b"<Error/>"), Some(ErrorDocument::default()));
    for other in ["", "<html></html>", "<Error><Code>x</Code>", "{\"Code\":1}"] {
        assert_eq!(error_document(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn what_object_store_is_given_instead_is_a_page_itself() {
    assert_eq!(page(&EMPTY_PAGE), Ok(Page::default()));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, text in "(<|>|/|&|;|Error|Key|ListBucketResult|Contents|Size|\\PC){0,40}") {
        let _ = (page(&bytes), error_document(&bytes));
        let _ = (page(text.as_bytes()), error_document(text.as_bytes()));
    }

    #[test]
    fn no_damaged_listing_panics(at: prop::sample::Index, byte: u8) {
        let mut bytes = LISTING.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = page(&bytes);
    }

    #[test]
    fn listed_keys_come_back_as_they_are(key in "[^\\x00-\\x1f\\x7f-\\x9f\u{2028}\u{fffe}\u{ffff}]{1,40}") {
        let escaped = quick_xml::escape::escape(key.as_str());
        let xml = format!("<ListBucketResult><Contents><Key>{escaped}</Key><Size>7</Size></Contents></ListBucketResult>");
        prop_assert_eq!(&page(xml.as_bytes()).unwrap().entries, &[entry(&key, 7, None)]);
    }
}
