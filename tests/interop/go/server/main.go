// server is a WebSocket echo server without any authentication, as in gorilla's own examples.
//
// It prints the address it listens on, then one line of JSON for every request that reaches it.
package main

import (
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/gorilla/websocket"
)

var upgrader = websocket.Upgrader{EnableCompression: true}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	output := json.NewEncoder(os.Stdout)
	output.Encode(listener.Addr().String())
	http.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		connection, err := upgrader.Upgrade(w, r, nil)
		refused := ""
		if err != nil {
			refused = err.Error()
		}
		output.Encode(map[string]string{
			"key":        r.Header.Get("X-Api-Key"),
			"name":       r.Header.Get("X-Wskeeper-Key-Name"),
			"extensions": r.Header.Get("Sec-WebSocket-Extensions"),
			"refused":    refused,
		})
		if err != nil {
			return // Upgrade has answered
		}
		defer connection.Close()
		for {
			kind, message, err := connection.ReadMessage()
			if err != nil {
				return
			}
			if err := connection.WriteMessage(kind, message); err != nil {
				return
			}
		}
	})
	log.Fatal(http.Serve(listener, nil))
}
