// Asks for two players: go run predict.go
// LUDOCAST_URL and LUDOCAST_KEY name another server and its key.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

type answer struct {
	Error       string
	Predictions []struct {
		Label       string
		Probability float64
	}
}

func main() {
	url := os.Getenv("LUDOCAST_URL")
	if url == "" {
		url = "http://127.0.0.1:8080"
	}
	players := []map[string]any{
		{"level": 12, "country": "KR", "days_away": 3},
		{"level": 2, "country": nil, "days_away": 20},
	}
	body, err := json.Marshal(players)
	if err != nil {
		log.Fatal(err)
	}
	request, err := http.NewRequest("POST", url+"/predict", bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+os.Getenv("LUDOCAST_KEY"))
	client := http.Client{Timeout: 30 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	var found answer
	if err := json.NewDecoder(response.Body).Decode(&found); err != nil {
		log.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		log.Fatal(found.Error)
	}
	for _, player := range found.Predictions {
		fmt.Printf("%s %.4f\n", player.Label, player.Probability)
	}
}
