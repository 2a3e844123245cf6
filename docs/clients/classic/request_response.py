"""A client of a web service of Azure ML Studio (classic): only its address and its key are others than there."""

import json
import urllib.error
import urllib.request

data = {
    "Inputs": {
        "input1": {
            "ColumnNames": ["level", "country", "days_away", "left"],
            "Values": [["12", "KR", "3", ""], ["2", "", "20", ""]],
        },
    },
    "GlobalParameters": {},
}

body = str.encode(json.dumps(data))

url = "http://127.0.0.1:8080/workspaces/5f1e0c7a/services/leaving/execute?api-version=2.0&details=true"
api_key = "abc123"
headers = {"Content-Type": "application/json", "Authorization": ("Bearer " + api_key)}

req = urllib.request.Request(url, body, headers)

try:
    response = urllib.request.urlopen(req)
    result = json.loads(response.read())
    output = result["Results"]["output1"]["value"]
    label = output["ColumnNames"].index("Scored Labels")
    probability = output["ColumnNames"].index("Scored Probabilities")
    for row in output["Values"]:
        print(row[label], f"{float(row[probability]):.4f}")
except urllib.error.HTTPError as error:
    print("The request failed with status code: " + str(error.code))
    print(error.info())
    print(json.loads(error.read()))
