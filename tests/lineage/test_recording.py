"""Recording: what is noted of a command line."""

from ckpttool.lineage.recording import Recording


def test_signatures_and_passwords_of_urls_are_not_noted() -> None:
    url = "https://me:key@host/a/model.ckpt"
    going = Recording(["diff", f"{url}?X-Amz-Signature=1&b=2", "--like=s3://key@bucket/x", "--rename", "a@b=>c?"])
    record = going.chain.records[-1]
    assert (record.command, record.arguments) == (
        "diff",
        ("https://host/a/model.ckpt", "--like=s3://bucket/x", "--rename", "a@b=>c?"),
    )
