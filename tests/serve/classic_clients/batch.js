// A batch as a program of the service's users ran it from Node, written anew: https.request's plain sibling.
const http = require("http");
const fs = require("fs");

const [base, apiKey, inputPath, outputPath] = process.argv.slice(2);

function call(method, url, body, withKey = true) {
  return new Promise((resolve, reject) => {
    const headers = withKey ? { Authorization: "Bearer " + apiKey } : {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const request = http.request(url, { method, headers }, (response) => {
      const pieces = [];
      response.on("data", (piece) => pieces.push(piece));
      response.on("end", () => {
        const text = Buffer.concat(pieces).toString();
        if (response.statusCode >= 300) reject(new Error(response.statusCode + " " + text));
        else resolve(text);
      });
    });
    request.on("error", reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function main() {
  const job = JSON.parse(
    await call("POST", base + "?api-version=2.0", {
      Input: { ConnectionString: "a", RelativeLocation: inputPath, BaseLocation: null, SasBlobToken: null },
      Outputs: { output1: { ConnectionString: "a", RelativeLocation: outputPath } },
      GlobalParameters: {},
    })
  );
  await call("POST", base + "/" + job + "/start?api-version=2.0");
  for (;;) {
    const status = JSON.parse(await call("GET", base + "/" + job + "?api-version=2.0"));
    if (status.StatusCode === "Finished") {
      const { BaseLocation, RelativeLocation, SasBlobToken } = status.Results.output1;
      fs.writeFileSync("result.csv", await call("GET", BaseLocation + RelativeLocation + SasBlobToken, undefined, false));
      console.log("Job " + job + " finished!");
      return;
    }
    if (status.StatusCode === "Failed" || status.StatusCode === "Cancelled") throw new Error(status.Details);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

main().catch((error) => {
  console.error(String(error));
  process.exit(1);
});
