"""A stand-in for wandb's server on loopback: the few operations that a run, a sync and a view need.

It answers what it does not know with 400, because wandb retries everything else for minutes.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

ENTITY = "lab"
API_KEY = "5ecre7" * 7  # of the length that wandb wants
Json = dict[str, Any]


@dataclass
class ServedRun:
    """What the server knows of one run.

    Attributes:
        fields: the latest variables of each upsert, together.
        lines: of each streamed file, by name: history, summary, events.
        exit_code: as the stream said at its end, or None.
        files: contents of uploads, by name.
    """

    fields: Json = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    exit_code: int | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def history(self) -> list[Json]:
        return [json.loads(line) for line in self.lines.get("wandb-history.jsonl", [])]

    @property
    def sent_epochs(self) -> list[int]:
        """The epochs whose loss was sent, in order."""
        return [row["epoch"] for row in self.history if "train/loss" in row]

    @property
    def epochs(self) -> list[int]:
        """The same as a run shows them: a step that was sent again is the same step."""
        return sorted(set(self.sent_epochs))

    @property
    def summary(self) -> Json:
        found = self.lines.get("wandb-summary.json")
        return json.loads(found[-1]) if found else {}

    @property
    def config(self) -> Json:
        plain = json.loads(self.fields.get("config") or "{}")
        return {key: value["value"] for key, value in plain.items()}


@dataclass
class WandbServer:
    """The stand-in's memory, and how to reach it.

    Attributes:
        url: of the server.
        runs: by id.
        artifacts: what was asked for, and the digest when it is committed, by id.
        views: saved workspaces and reports, by id.
        operations: the names of all queries, in order.
        received: every body, for a test of leaks.
        silent: while set, requests are accepted and not answered.
    """

    url: str = ""
    runs: dict[str, ServedRun] = field(default_factory=dict)
    artifacts: dict[str, Json] = field(default_factory=dict)
    views: dict[str, Json] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def environment(self) -> dict[str, str]:
        """What sends wandb here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": API_KEY, "WANDB_MODE": "online"}

    def answer(self, query: str, variables: Json) -> Json | None:
        """Return the data of a GraphQL operation, or None for an unknown one."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found.group(1) if found else ""
        self.operations.append(name)
        handler: Callable[[Json], Json] | None = getattr(self, f"_on_{name}", None)
        try:
            return None if handler is None else handler(variables)
        except (KeyError, TypeError):  # asked for otherwise than it was when this was written
            return None

    def _on_ServerFeaturesQuery(self, variables: Json) -> Json:  # noqa: N802  # wandb's names
        return {"serverInfo": {"features": []}}

    def _on_Viewer(self, variables: Json) -> Json:  # noqa: N802
        viewer = {"id": "user", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}"}
        return {"viewer": viewer | {"teams": {"edges": []}, "admin": False, "deletedAt": None}}

    def _on_GetDefaultEntity(self, variables: Json) -> Json:  # noqa: N802
        return self._on_Viewer(variables)

    def _on_ProjectInternalId(self, variables: Json) -> Json:  # noqa: N802
        return {"project": {"id": "model", "internalId": "1"}}

    def _on_upsertView(self, variables: Json) -> Json:  # noqa: N802
        return self._on_UpsertView2(variables)

    def _on_UpsertView2(self, variables: Json) -> Json:  # noqa: N802
        """Save a report (with all fields in the answer) or a workspace."""
        identity = variables.get("id") or f"view{len(self.views)}"
        inserted = identity not in self.views
        self.views[identity] = variables | {"spec": json.loads(variables["spec"])}
        project = {"id": "model", "name": variables["projectName"], "entityName": ENTITY}
        view = {
            **{key: variables.get(key) for key in ("name", "type", "displayName", "description")},
            **{"id": identity, "project": project, "spec": variables["spec"], "user": None},
            **{"createdAt": "2026-01-01T00:00:00", "updatedAt": "2026-01-01T00:00:00"},
        }
        return {"upsertView": {"view": view, "inserted": inserted}}

    def _on_GetProjects(self, variables: Json) -> Json:  # noqa: N802
        page = {"hasNextPage": False, "endCursor": None}
        return {"models": {"edges": [], "pageInfo": page}}

    def _on_CreateProject(self, variables: Json) -> Json:  # noqa: N802
        project = {
            "__typename": "Project",
            "id": "model",
            "name": variables["input"]["name"],
            "entityName": ENTITY,
            "description": "",
            "access": "PRIVATE",
            "views": "{}",
        }
        return {"result": {"project": project, "model": project, "inserted": True}}

    def _on_RunResumeStatus(self, variables: Json) -> Json:  # noqa: N802
        entity = {"id": ENTITY, "name": ENTITY}
        model: Json = {"id": "model", "name": variables["project"], "entity": entity}
        run = self.runs.get(variables["name"])
        return {"model": model | {"bucket": run and self._bucket(variables["name"], run)}}

    def _bucket(self, name: str, run: ServedRun) -> Json:
        def count(file: str) -> int:
            return len(run.lines.get(file, []))

        history = run.lines.get("wandb-history.jsonl", [])
        return {
            "id": name,
            "name": name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.fields.get("displayName"),
            "logLineCount": count("output.log"),
            "historyLineCount": len(history),
            "eventsLineCount": count("wandb-events.jsonl"),
            "historyTail": json.dumps(history[-1:]),
            "eventsTail": "[]",
            "config": run.fields.get("config") or "{}",
            "tags": run.fields.get("tags") or [],
            "notes": None,
            "wandbConfig": '{"t": 1}',
        }

    def _on_UpsertBucket(self, variables: Json) -> Json:  # noqa: N802
        name = variables["name"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, ServedRun())
        run.fields |= {key: value for key, value in variables.items() if value is not None}
        entity = {"id": ENTITY, "name": ENTITY}
        project = {"id": "model", "name": variables.get("project"), "entity": entity}
        bucket = self._bucket(name, run) | {"project": project, "sweepName": None}
        return {"upsertBucket": {"bucket": bucket | {"description": ""}, "inserted": inserted}}

    def _on_CreateRunFiles(self, variables: Json) -> Json:  # noqa: N802
        run = variables["run"]
        files = [
            {"name": name, "uploadUrl": f"{self.url}/upload/{run}/{name}"}
            for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _on_FetchArtifactDigestAlgorithm(self, variables: Json) -> Json:  # noqa: N802
        return {"project": None}

    def _on_XXHashDigestsEnabled(self, variables: Json) -> Json:  # noqa: N802
        return {"entity": None}

    def _on_CreateArtifact(self, variables: Json) -> Json:  # noqa: N802
        asked = variables["input"]
        name = f"artifact{len(self.artifacts)}"
        self.artifacts[name] = {**asked, "files": {}, "committed": False}
        sequence = {"id": "sequence", "latestArtifact": None, "name": "sequence"}
        artifact = {"id": name, "state": "PENDING", "artifactSequence": sequence}
        return {"createArtifact": {"artifact": artifact}}

    def _on_CreateArtifactManifest(self, variables: Json) -> Json:  # noqa: N802
        name = variables["artifactID"]
        url = f"{self.url}/artifact/{name}/manifest"
        file = {"id": "file", "uploadUrl": url, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": name, "file": file}}}

    def _on_UpdateArtifactManifest(self, variables: Json) -> Json:  # noqa: N802
        name = variables["artifactManifestID"]
        url = f"{self.url}/artifact/{name}/manifest"
        file = {"id": "file", "uploadUrl": url, "uploadHeaders": []}
        return {"updateArtifactManifest": {"artifactManifest": {"id": name, "file": file}}}

    def _on_CreateArtifactFiles(self, variables: Json) -> Json:  # noqa: N802
        edges: list[Json] = [
            {
                "node": {
                    "storagePath": f"{asked['artifactID']}/{asked['name']}",
                    "uploadUrl": f"{self.url}/artifact/{asked['artifactID']}/{asked['name']}",
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": asked["artifactID"]},
                }
            }
            for asked in variables["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _on_CommitArtifact(self, variables: Json) -> Json:  # noqa: N802
        artifact = self.artifacts[variables["artifactID"]]
        artifact["committed"] = True
        answer = {"id": variables["artifactID"], "digest": artifact.get("digest", "")}
        return {"commitArtifact": {"artifact": answer}}

    def stream(self, name: str, sent: Json) -> None:
        """Take what a run streams: lines of its files, each from an offset on."""
        run = self.runs.setdefault(name, ServedRun())
        for file, part in sent.get("files", {}).items():
            lines = run.lines.setdefault(file, [])
            lines[part["offset"] :] = part["content"]
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")

    def upload(self, kind: str, name: str, file: str, content: bytes) -> None:
        """Take a file of a run or of an artifact."""
        if kind == "artifact":
            self.artifacts[name]["files"][file] = content
        else:
            self.runs[name].files[file] = content


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:  # its name
        """Say nothing."""

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.known.received.append(self.path.encode() + b"\n" + body)
        while self.server.known.silent.is_set() and not self.server.known.stopped.is_set():
            self.server.known.stopped.wait(0.1)
        return body

    def _reply(self, code: int, answer: Json) -> None:
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._body()
        self._reply(200, {})

    def do_POST(self) -> None:
        sent, known = json.loads(self._body() or b"{}"), self.server.known
        path = urlsplit(self.path).path
        if path == "/graphql" and sent:
            data = known.answer(sent["query"], sent.get("variables") or {})
            if data is None:
                error = {"message": f"unknown operation {known.operations[-1]}"}
                self._reply(400, {"errors": [error]})
            else:
                self._reply(200, {"data": data})
        elif found := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
            known.stream(found.group(1), sent)
            self._reply(200, {})
        else:
            self._reply(400, {})

    def do_PUT(self) -> None:
        _, kind, name, file = urlsplit(self.path).path.split("/", 3)
        self.server.known.upload(kind, name, file, self._body())
        self._reply(200, {})


class _Server(ThreadingHTTPServer):
    known: WandbServer
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients come and go."""


@contextmanager
def serving() -> Iterator[WandbServer]:
    """Serve on a free port of loopback while the body runs."""
    known = WandbServer()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.known = known
        known.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield known
        finally:
            known.stopped.set()
            server.shutdown()
            thread.join()
