// The same question in several languages.

const SHOWN = 160;  // characters of a record in a line of code

export const LANGUAGES = ["curl", "Python", "JavaScript", "C#"];

export function snippet(language, model, record, hasKey) {
  const url = new URL(`models/${encodeURIComponent(model.name)}/predict`, location.href).href;
  const json = JSON.stringify(record);
  const body = json.length > SHOWN ? JSON.stringify(record, null, 2) : json;
  return { curl, Python: python, JavaScript: javascript, "C#": csharp }[language](url, body, hasKey);
}

function curl(url, body, hasKey) {
  const quoted = body.replaceAll("'", "'\\''");
  return `curl ${hasKey ? "-H \"Authorization: Bearer $KEY\" " : ""}-H 'Content-Type: application/json' \\\n  -d '${quoted}' \\\n  ${url}`;
}

function python(url, body, hasKey) {
  const [base, name] = [new URL(".", url.replace(/models\/.*/, "")).href.replace(/\/$/, ""), decodeURIComponent(url.match(/models\/([^/]+)/)[1])];
  const literal = body.replace(/("(?:[^"\\]|\\.)*")|\b(true|false|null)\b/g,
    (_, text, word) => text ?? { true: "True", false: "False", null: "None" }[word]);
  return `from ludocast.serve.client import Client  # pip install ludocast\n\nclient = Client("${base}"${hasKey ? ", key=KEY" : ""}, model=${JSON.stringify(name)})\n`
    + `print(client.predict(${literal}).predictions)`;
}

function javascript(url, body, hasKey) {
  return `const answer = await fetch("${url}", {\n  method: "POST",\n  headers: { "Content-Type": "application/json"${hasKey ? ", Authorization: `Bearer ${KEY}`" : ""} },\n`
    + `  body: JSON.stringify(${body}),\n});\nconsole.log(await answer.json());`;
}

function csharp(url, body, hasKey) {
  return `using var client = new System.Net.Http.HttpClient();\n`
    + (hasKey ? `client.DefaultRequestHeaders.Authorization = new System.Net.Http.Headers.AuthenticationHeaderValue("Bearer", KEY);\n` : "")
    + `var content = new System.Net.Http.StringContent(@"${body.replaceAll('"', '""')}", System.Text.Encoding.UTF8, "application/json");\n`
    + `var answer = await client.PostAsync("${url}", content);\nSystem.Console.WriteLine(await answer.Content.ReadAsStringAsync());`;
}
