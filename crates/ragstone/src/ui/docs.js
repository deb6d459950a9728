// Shows /openapi.json and asks a question. Text of the server is only ever set as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const METHODS = ["get", "post", "patch", "delete"];

function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function table(head, rows) {
  const node = make("table");
  const line = (cells, tag) => {
    const row = node.appendChild(make("tr"));
    for (const cell of cells) row.appendChild(make(tag, cell));
    return row;
  };
  line(head, "th");
  for (const cells of rows) line(cells, "td");
  return node;
}

function typeName(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const some = schema.oneOf || schema.anyOf;
  if (some) return some.map(typeName).join(" or ");
  const kinds = [].concat(schema.type || "any");
  return kinds.map((kind) => (kind === "array" ? `[${typeName(schema.items)}]` : kind)).join(" or ");
}

function fields(schema) {
  const required = new Set(schema.required || []);
  const rows = Object.entries(schema.properties || {});
  return rows.map(([name, field]) => [name + (required.has(name) ? " *" : ""), typeName(field), field.description || ""]);
}

function showCall(path, method, call) {
  const node = make("details", undefined, "call");
  const summary = node.appendChild(make("summary"));
  summary.append(make("span", method.toUpperCase(), `method ${method}`), make("span", path, "path"));
  const text = [call.summary, call.description].filter(Boolean).join(" ");
  node.append(make("p", text.replaceAll("`", "")));
  const parameters = call.parameters || [];
  if (parameters.length) {
    node.append(make("h4", "Parameters"));
    const rows = parameters.map((p) => [p.name, p.in, typeName(p.schema), p.description || ""]);
    node.append(table(["name", "in", "type", "meaning"], rows));
  }
  for (const [kind, content] of Object.entries((call.requestBody || {}).content || {})) {
    node.append(make("h4", `Body: ${kind}`), make("p", typeName(content.schema), "path"));
  }
  node.append(make("h4", "Answers"));
  const rows = Object.entries(call.responses).sort().map(([status, answer]) => {
    const body = Object.entries(answer.content || {}).map(([kind, c]) => `${kind} ${typeName(c.schema)}`.trim());
    return [status, body.join(", "), (answer.description || "").replaceAll("`", "")];
  });
  node.append(table(["status", "body", "meaning"], rows));
  return node;
}

function showCalls(api) {
  for (const tag of api.tags || []) {
    $("calls").append(make("h2", tag.name), make("p", tag.description, "dim"));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS) {
        const call = item[method];
        if (call && (call.tags || []).includes(tag.name)) $("calls").append(showCall(path, method, call));
      }
    }
  }
}

// The description's one table, a row a code; a problem's `type` points to its row.
function showProblems(description) {
  const cells = (line) => line.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", ""));
  const lines = description.split("\n").filter((line) => line.startsWith("|"));
  const [head, , ...rows] = lines.map(cells);
  const node = table(head || [], rows);
  [...node.rows].slice(1).forEach((row, n) => { row.id = rows[n][1]; });
  $("problems").append(make("h2", "Problems"), node);
  if (location.hash) location.replace(location.hash);
}

function showSchemas(schemas) {
  $("schemas").append(make("h2", "Schemas"), make("p", "* required", "dim"));
  for (const [name, schema] of Object.entries(schemas)) {
    const node = make("details", undefined, "call");
    node.append(make("summary", name, "path"), make("p", schema.description || ""));
    node.append(table(["field", "type", "meaning"], fields(schema)));
    $("schemas").append(node);
  }
}

const key = () => ($("key").value ? { Authorization: `Bearer ${$("key").value}` } : {});

async function describe() {
  const answer = await fetch("/openapi.json", { headers: key() });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  const api = await answer.json();
  $("version").textContent = api.info.version;
  showCalls(api);
  showProblems(api.info.description || "");
  showSchemas((api.components || {}).schemas || {});
}

// Events of a stream: name and data.
async function* events(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  while (true) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const frames = rest.split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const lines = frame.split("\n");
      const read = (name) => (lines.find((line) => line.startsWith(`${name}: `)) || "").slice(name.length + 2);
      if (read("event")) yield [read("event"), JSON.parse(read("data"))];
    }
  }
}

function cite(citation) {
  if (document.getElementById(`citation-${citation.n}`)) return;
  const item = make("li");
  item.id = `citation-${citation.n}`;
  item.value = citation.n;
  const page = citation.page === null ? "" : `, page ${citation.page}`;
  item.append(make("strong", `${citation.title}${page}: `), make("q", citation.quote));
  $("citations").append(item);
}

function show(event, data) {
  if (event === "sources") $("status").textContent = `${data.passages.length} passages found`;
  if (event === "delta") $("answer").textContent += data.text;
  if (event === "citation") cite(data);
  if (event === "done") $("status").textContent = data.answered ? `answered by ${data.model}` : "the documents do not answer this";
  if (event === "failed") $("status").textContent = `failed: ${data.detail}`;
}

let asking = null;

async function ask(submitted) {
  submitted.preventDefault();
  if (asking) asking.abort();
  const mine = new AbortController();
  asking = mine;
  $("stop").disabled = false;
  $("answer").textContent = "";
  $("citations").replaceChildren();
  $("status").textContent = "searching";
  const headers = { "Content-Type": "application/json", Accept: "text/event-stream", ...key() };
  const body = JSON.stringify({ question: $("question").value });
  try {
    const answer = await fetch("/api/v1/ask", { method: "POST", headers, body, signal: mine.signal });
    if (!answer.ok) {
      const problem = await answer.json();
      throw new Error(`${problem.detail}; ${problem.hint}`);
    }
    for await (const [event, data] of events(answer.body)) show(event, data);
  } catch (error) {
    if (asking === mine) $("status").textContent = mine.signal.aborted ? "stopped" : error.message;
  }
  if (asking === mine) $("stop").disabled = true;
}

$("ask").addEventListener("submit", ask);
$("stop").addEventListener("click", () => asking && asking.abort());
describe().catch((error) => $("calls").append(make("p", error.message)));
