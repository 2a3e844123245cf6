// A client of a web service of Azure ML Studio (classic): only its address and its key are others than there.
import http from "node:http";
import https from "node:https";

const url = "http://127.0.0.1:8080/workspaces/5f1e0c7a/services/leaving/execute?api-version=2.0&format=swagger";
const apiKey = "abc123";

const data = {
  Inputs: {
    input1: [
      { level: "12", country: "KR", days_away: "3", left: "" },
      { level: "2", country: "", days_away: "20", left: "" },
    ],
  },
  GlobalParameters: {},
};
const body = JSON.stringify(data);
const options = {
  method: "POST",
  headers: {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
    Authorization: "Bearer " + apiKey,
  },
};

const request = (url.startsWith("https:") ? https : http).request(url, options, (response) => {
  let text = "";
  response.setEncoding("utf8");
  response.on("data", (part) => (text += part));
  response.on("end", () => {
    if (response.statusCode !== 200) {
      console.log("The request failed with status code: " + response.statusCode);
      console.log(text);
      return;
    }
    for (const row of JSON.parse(text).Results.output1) {
      console.log(row["Scored Labels"], Number(row["Scored Probabilities"]).toFixed(4));
    }
  });
});
request.on("error", (error) => console.log("The request failed: " + error.message));
request.write(body);
request.end();
