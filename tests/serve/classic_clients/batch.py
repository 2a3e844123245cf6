"""A batch as programs that the service generated for Python ran it, written anew: urllib, and a blob that is a file."""

import json
import sys
import time
import urllib.error
import urllib.request

url, api_key, input_path, output_path = sys.argv[1:]
TIME_OUT = 60


def print_http_error(error: urllib.error.HTTPError) -> None:
    print("The request failed with status code: " + str(error.code))
    print(error.info())
    print(json.loads(error.read()))
    sys.exit(1)


def save_blob(blob_url: str) -> None:
    print("Reading the result from " + blob_url)
    with open("result.csv", "wb") as file:
        file.write(urllib.request.urlopen(blob_url).read())


def invoke_batch_execution_service() -> None:
    payload = {
        "Inputs": {
            "input1": {
                "ConnectionString": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=b",
                "RelativeLocation": input_path,
            }
        },
        "Outputs": {
            "output1": {
                "ConnectionString": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=b",
                "RelativeLocation": output_path,
            }
        },
        "GlobalParameters": {},
    }
    headers = {"Content-Type": "application/json", "Authorization": "Bearer " + api_key}
    print("Submitting the job...")
    request = urllib.request.Request(url + "?api-version=2.0", json.dumps(payload).encode(), headers)
    try:
        response = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        print_http_error(error)
    job_id = response.read().decode()[1:-1]  # removes the enclosing double-quotes
    print("Job ID: " + job_id)

    print("Starting the job...")
    headers = {"Authorization": "Bearer " + api_key}
    request = urllib.request.Request(url + "/" + job_id + "/start?api-version=2.0", b"", headers)
    try:
        urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        print_http_error(error)

    begin = time.time()
    while True:
        print("Checking the job status...")
        request = urllib.request.Request(url + "/" + job_id + "?api-version=2.0", headers=headers)
        try:
            response = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            print_http_error(error)
        result = json.loads(response.read())
        status = result["StatusCode"]
        if status in (0, "NotStarted"):
            print("Job " + job_id + " not yet started...")
        elif status in (1, "Running"):
            print("Job " + job_id + " running...")
        elif status in (2, "Failed"):
            print("Job " + job_id + " failed! Error details: " + result["Details"])
            break
        elif status in (3, "Cancelled"):
            print("Job " + job_id + " cancelled!")
            break
        elif status in (4, "Finished"):
            print("Job " + job_id + " finished!")
            for name in result["Results"]:
                location = result["Results"][name]
                save_blob(location["BaseLocation"] + location["RelativeLocation"] + location["SasBlobToken"])
            break
        if time.time() - begin > TIME_OUT:
            print("Time out. Deleting job " + job_id)
            request = urllib.request.Request(url + "/" + job_id + "?api-version=2.0", headers=headers, method="DELETE")
            urllib.request.urlopen(request)
            break
        time.sleep(0.2)


invoke_batch_execution_service()
