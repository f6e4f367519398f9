"""Bucket and table: private, encrypted, kept, and cheap as they age. Runs under pytest, offline."""


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
    assert set(rules) == {"runs", "unfinished-uploads"}


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
