"""The rewrite of the synthesized template: only what can't run here changes."""

import copy
import json

import pytest
from siltstone_local.errors import TemplateUnsupported
from siltstone_local.template import Package, transform

PACKAGE = Package("packages", "abc.zip")


def image_function(**image_config):
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "PackageType": "Image",
            "Code": {"ImageUri": {"Fn::Sub": "000000000000.dkr.ecr.us-east-1.${AWS::URLSuffix}/assets:abc"}},
            "ImageConfig": image_config,
            "MemorySize": 3008,
            "Timeout": 900,
            "EphemeralStorage": {"Size": 10240},
            "Environment": {"Variables": {"BUCKET": {"Ref": "Bucket"}, "OPENAI_BASE_URL": "https://api.openai.com/v1"}},
        },
    }


def rewritten(function, environment=None):
    return transform({"Resources": {"F": function}}, PACKAGE, environment or {})["Resources"]["F"]["Properties"]


def test_an_image_function_becomes_a_package_whose_handler_is_its_command():
    properties = rewritten(image_function(Command=["functions.merge.handler"]))
    assert properties["PackageType"] == "Zip"
    assert properties["Runtime"] == "provided.al2023"
    assert properties["Handler"] == "functions.merge.handler"
    assert properties["Code"] == {"S3Bucket": "packages", "S3Key": "abc.zip"}
    assert "ImageConfig" not in properties


def test_an_entry_point_may_name_the_handler_too():
    properties = rewritten(image_function(EntryPoint=["python", "-m", "awslambdaric", "functions.merge.handler"]))
    assert properties["Handler"] == "functions.merge.handler"


def test_the_rest_of_a_function_stays_as_it_was():
    properties = rewritten(image_function(Command=["functions.merge.handler"]))
    assert (properties["MemorySize"], properties["Timeout"]) == (3008, 900)
    assert properties["EphemeralStorage"] == {"Size": 10240}
    assert properties["Environment"]["Variables"]["BUCKET"] == {"Ref": "Bucket"}


def test_the_local_environment_goes_over_the_functions_own():
    properties = rewritten(image_function(Command=["a.b"]), {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    assert properties["Environment"]["Variables"] == {
        "BUCKET": {"Ref": "Bucket"},
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }


def test_everything_else_of_the_template_is_left_alone():
    template = {
        "Parameters": {"BootstrapVersion": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/cdk/version"}},
        "Rules": {"CheckBootstrapVersion": {"Assertions": []}},
        "Conditions": {"CDKMetadataAvailable": {"Fn::Equals": [1, 1]}},
        "Resources": {
            "Zip": {
                "Type": "AWS::Lambda::Function",
                "Properties": {"Runtime": "nodejs22.x", "Handler": "index.handler"},
            },
            "Meta": {"Type": "AWS::CDK::Metadata", "Condition": "CDKMetadataAvailable"},
            "Bucket": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain"},
        },
        "Outputs": {"Name": {"Value": {"Ref": "Bucket"}}},
    }
    assert transform(template, PACKAGE, {"OPENAI_BASE_URL": "x"}) == template


def test_the_given_template_is_not_changed():
    template = {"Resources": {"F": image_function(Command=["a.b"])}}
    before = copy.deepcopy(template)
    transform(template, PACKAGE, {"X": "y"})
    assert template == before


@pytest.mark.parametrize(
    "command", [[], ["merge"], [{"Ref": "Handler"}], ["functions/merge.handler"], ["a.b; rm -rf /"]]
)
def test_an_image_function_without_a_handler_is_refused_by_name(command):
    with pytest.raises(TemplateUnsupported, match="The image function F has the command") as raised:
        rewritten(image_function(Command=command))
    assert "functions.NAME.handler" in raised.value.remedy


def test_the_result_is_json():
    json.dumps(transform({"Resources": {"F": image_function(Command=["a.b"])}}, PACKAGE, {"X": "y"}))
