"""Reading a cloud assembly."""

import io
import json
import zipfile

import pytest
from siltstone_local.assembly import read_assembly
from siltstone_local.errors import TemplateUnsupported


def write(folder, manifest, **files):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(json.dumps(content))


def stack(template="s.json", *, dependencies=(), **properties):
    return {
        "type": "aws:cloudformation:stack",
        "properties": {"templateFile": template, **properties},
        "dependencies": list(dependencies),
    }


def assets(source):
    destination = {"bucketName": "assets-${AWS::AccountId}-${AWS::Region}", "objectKey": "key.zip"}
    return {"files": {"hash": {"source": source, "destinations": {"here": destination}}}}


def test_a_stack_comes_after_those_it_depends_on(tmp_path):
    write(tmp_path, {"artifacts": {"A": stack(dependencies=["B"]), "B": stack()}}, s_json={"Resources": {}})
    assert [each.name for each in read_assembly(tmp_path)] == ["B", "A"]


def test_the_stacks_of_a_stage_are_found_with_their_own_names(tmp_path):
    stage = {"type": "cdk:cloud-assembly", "properties": {"directoryName": "assembly-dev"}}
    write(tmp_path, {"artifacts": {"Dev": stage}})
    inner = stack(stackName="siltstone-dev", tags={"stage": "dev"})
    write(tmp_path / "assembly-dev", {"artifacts": {"X": inner}}, s_json={"Resources": {}})
    [found] = read_assembly(tmp_path)
    assert (found.name, found.tags) == ("siltstone-dev", {"stage": "dev"})


def test_assets_carry_the_place_where_the_template_looks_for_them(tmp_path):
    artifacts = {
        "S": stack(dependencies=["S.assets"]),
        "S.assets": {"type": "cdk:asset-manifest", "properties": {"file": "a.json"}},
    }
    (tmp_path / "code" / "deep").mkdir(parents=True)
    (tmp_path / "code" / "deep" / "x.py").write_text("x = 1")
    write(tmp_path, {"artifacts": artifacts}, s_json={}, a_json=assets({"path": "code", "packaging": "zip"}))
    [asset] = read_assembly(tmp_path)[0].assets
    assert (asset.bucket, asset.key) == ("assets-000000000000-us-east-1", "key.zip")
    with zipfile.ZipFile(io.BytesIO(asset.read())) as archive:
        assert archive.read("deep/x.py") == b"x = 1"


def test_the_template_is_no_asset_of_its_own_stack(tmp_path):
    artifacts = {
        "S": stack(dependencies=["S.assets"]),
        "S.assets": {"type": "cdk:asset-manifest", "properties": {"file": "a.json"}},
    }
    write(tmp_path, {"artifacts": artifacts}, s_json={}, a_json=assets({"path": "s.json", "packaging": "file"}))
    assert read_assembly(tmp_path)[0].assets == []


def test_an_asset_made_by_a_command_is_refused(tmp_path):
    artifacts = {
        "S": stack(dependencies=["S.assets"]),
        "S.assets": {"type": "cdk:asset-manifest", "properties": {"file": "a.json"}},
    }
    write(tmp_path, {"artifacts": artifacts}, s_json={}, a_json=assets({"executable": ["make"]}))
    with pytest.raises(TemplateUnsupported, match="made by a command"):
        read_assembly(tmp_path)


def test_a_folder_that_is_no_assembly_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(TemplateUnsupported, match="make synth"):
        read_assembly(tmp_path / "cdk.out")


def test_an_assembly_without_a_stack_is_refused(tmp_path):
    write(tmp_path, {"artifacts": {}})
    with pytest.raises(TemplateUnsupported, match="has no stack"):
        read_assembly(tmp_path)
