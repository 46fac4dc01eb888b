// asker does what people do first: it sends its key with a plain GET, then dials without it.
//
//	asker HOST:PORT KEY
//
// It prints one line of JSON for the answer to each.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/gorilla/websocket"
)

func main() {
	address, key := os.Args[1], os.Args[2]

	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/ws", nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("X-Api-Key", key)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	report(answer, nil)

	connection, answer, err := websocket.DefaultDialer.Dial("ws://"+address+"/ws", nil)
	if answer == nil {
		log.Fatal(err)
	}
	report(answer, err)
	if connection != nil {
		connection.Close()
	}
}

func report(answer *http.Response, dialled error) {
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	failure := ""
	if dialled != nil {
		failure = dialled.Error()
	}
	json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"status": answer.StatusCode,
		"header": answer.Header,
		"body":   string(body),
		"error":  failure,
	})
}
