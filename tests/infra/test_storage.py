"""Bucket and table: private, encrypted, kept, and cheap as they age. Runs under pytest, offline."""

from dataclasses import fields

from lambdas.core.records import RunRecord


def test_the_bucket_is_encrypted_and_not_public(stack):
    bucket = stack.only("AWS::S3::Bucket")

    encryption = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4


def test_the_bucket_refuses_requests_without_tls(stack):
    (statement,) = stack.only("AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]

    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Principal"] == {"AWS": "*"}
    assert statement["Action"] == "s3:*"
    assert len(statement["Resource"]) == 2


def test_the_bucket_tells_eventbridge(stack):
    configuration = stack.only("AWS::S3::Bucket")["NotificationConfiguration"]["EventBridgeConfiguration"]

    assert configuration == {"EventBridgeEnabled": True}


def test_runs_go_to_intelligent_tiering_at_7_days_glacier_at_30_and_end_at_60(stack):
    rules = {rule["Id"]: rule for rule in stack.only("AWS::S3::Bucket")["LifecycleConfiguration"]["Rules"]}

    runs = rules["runs"]
    assert (runs["Prefix"], runs["Status"], runs["ExpirationInDays"]) == ("phase1/", "Enabled", 60)
    assert [(t["StorageClass"], t["TransitionInDays"]) for t in runs["Transitions"]] == [
        ("INTELLIGENT_TIERING", 7), ("GLACIER", 30),
    ]  # fmt: skip
    assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1
    assert set(rules) == {"runs", "staged", "unfinished-uploads"}


def test_staged_copies_end_after_a_day_by_their_tag_and_nothing_outside_runs_ever_does(stack):
    rules = {rule["Id"]: rule for rule in stack.only("AWS::S3::Bucket")["LifecycleConfiguration"]["Rules"]}

    staged = rules["staged"]
    assert (staged["Prefix"], staged["Status"], staged["ExpirationInDays"]) == ("phase1/", "Enabled", 1)
    assert staged["TagFilters"] == [{"Key": "Staged", "Value": "true"}]
    for name, rule in rules.items():
        assert rule.get("Prefix") == "phase1/" or not {"ExpirationInDays", "Transitions"} & set(rule), name


def test_what_people_paid_for_outlives_the_stack(stack):
    for kind in ("AWS::S3::Bucket", "AWS::DynamoDB::Table"):
        ((_, resource),) = stack.of_type(kind).items()
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_the_table_s_index_lists_runs_by_time(stack):
    table = stack.only("AWS::DynamoDB::Table")
    (index,) = table["GlobalSecondaryIndexes"]

    assert [key["AttributeName"] for key in table["KeySchema"]] == ["id"]
    assert index["IndexName"] == "by-time"
    assert [(key["AttributeName"], key["KeyType"]) for key in index["KeySchema"]] == [
        ("kind", "HASH"),
        ("run_id", "RANGE"),
    ]
    assert index["Projection"] == {"ProjectionType": "ALL"}


def test_the_table_deletes_what_says_when_it_expires_and_no_record_does(stack):
    attribute = stack.only("AWS::DynamoDB::Table")["TimeToLiveSpecification"]

    assert attribute == {"AttributeName": "expires_at", "Enabled": True}
    assert "expires_at" not in {field.name for field in fields(RunRecord)}
