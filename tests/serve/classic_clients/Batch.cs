// A batch as programs that the service generated for C# ran it, written anew: HttpClient, typed requests and states.
using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Threading.Tasks;
using System.Web.Script.Serialization;

namespace CallBatchExecutionService
{
    public class AzureBlobDataReference
    {
        public string ConnectionString { get; set; }
        public string RelativeLocation { get; set; }
        public string BaseLocation { get; set; }
        public string SasBlobToken { get; set; }
    }

    public enum BatchScoreStatusCode
    {
        NotStarted,
        Running,
        Failed,
        Cancelled,
        Finished
    }

    public class BatchScoreStatus
    {
        public BatchScoreStatusCode StatusCode { get; set; }
        public Dictionary<string, AzureBlobDataReference> Results { get; set; }
        public string Details { get; set; }
    }

    public class BatchExecutionRequest
    {
        public Dictionary<string, AzureBlobDataReference> Inputs { get; set; }
        public Dictionary<string, string> GlobalParameters { get; set; }
        public Dictionary<string, AzureBlobDataReference> Outputs { get; set; }
    }

    class Program
    {
        static int Main(string[] args)
        {
            return InvokeBatchExecutionService(args[0], args[1], args[2], args[3]).Result;
        }

        static async Task<int> InvokeBatchExecutionService(string baseUrl, string apiKey, string input, string output)
        {
            var json = new JavaScriptSerializer();
            using (HttpClient client = new HttpClient())
            {
                var request = new BatchExecutionRequest()
                {
                    Inputs = new Dictionary<string, AzureBlobDataReference>() {
                        { "input1", new AzureBlobDataReference() { ConnectionString = "a", RelativeLocation = input } },
                    },
                    Outputs = new Dictionary<string, AzureBlobDataReference>() {
                        { "output1", new AzureBlobDataReference() { ConnectionString = "a", RelativeLocation = output } },
                    },
                    GlobalParameters = new Dictionary<string, string>() { }
                };
                client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", apiKey);

                Console.WriteLine("Submitting the job...");
                var content = new StringContent(json.Serialize(request), Encoding.UTF8, "application/json");
                var response = await client.PostAsync(baseUrl + "?api-version=2.0", content);
                if (!response.IsSuccessStatusCode) return await Fail(response);
                string jobId = json.Deserialize<string>(await response.Content.ReadAsStringAsync());
                Console.WriteLine("Job ID: {0}", jobId);

                Console.WriteLine("Starting the job...");
                response = await client.PostAsync(baseUrl + "/" + jobId + "/start?api-version=2.0", null);
                if (!response.IsSuccessStatusCode) return await Fail(response);

                string jobLocation = baseUrl + "/" + jobId + "?api-version=2.0";
                while (true)
                {
                    response = await client.GetAsync(jobLocation);
                    if (!response.IsSuccessStatusCode) return await Fail(response);
                    var status = json.Deserialize<BatchScoreStatus>(await response.Content.ReadAsStringAsync());
                    switch (status.StatusCode)
                    {
                        case BatchScoreStatusCode.Failed:
                            Console.WriteLine("Job {0} failed! {1}", jobId, status.Details);
                            return 1;
                        case BatchScoreStatusCode.Cancelled:
                            Console.WriteLine("Job {0} cancelled!", jobId);
                            return 1;
                        case BatchScoreStatusCode.Finished:
                            Console.WriteLine("Job {0} finished!", jobId);
                            var blob = status.Results["output1"];
                            using (var plain = new HttpClient())
                            {
                                var url = blob.BaseLocation + blob.RelativeLocation + blob.SasBlobToken;
                                File.WriteAllBytes("result.csv", await plain.GetByteArrayAsync(url));
                            }
                            return 0;
                    }
                    await Task.Delay(200);
                }
            }
        }

        static async Task<int> Fail(HttpResponseMessage response)
        {
            Console.WriteLine("The request failed with status code: {0}", response.StatusCode);
            Console.WriteLine(await response.Content.ReadAsStringAsync());
            return 1;
        }
    }
}
